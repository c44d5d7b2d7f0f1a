"""Training runs on disk: read, listed, compared and drawn. No torch here."""
