"""Places with images: files, folders, tar files, tables, object storage."""
