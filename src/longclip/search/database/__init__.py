"""The database: LanceDB tables of images and their embeddings, on disk or in object storage."""
