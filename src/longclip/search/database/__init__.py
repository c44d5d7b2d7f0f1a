"""The database: LanceDB tables of images and their embeddings, on disk or in object storage."""

from longclip.util.libraries import require_libraries

# Its modules import the libraries of the extra `search`, which a plain installation has not.
require_libraries("search")
