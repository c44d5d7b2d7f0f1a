"""Where images are found: files, folders, archives, tables, object storage."""
