"""Pictures of scenes, painted from back to front."""
