"""Tables: Parquet, CSV, TSV and JSON files, folders of pictures, saved data sets, the hub's."""
