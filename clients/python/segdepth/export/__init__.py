"""Results as files: the columns as CSV, Parquet and atoms, maps as TIFF and Zarr, a summary, pictures, a program."""

from segdepth.export.movie import DEFAULT_FORMATS, FORMATS, MovieExport
from segdepth.export.program import Request
from segdepth.export.table import CSV_HEADER, column_fields, csv_rows

__all__ = ["MovieExport", "DEFAULT_FORMATS", "FORMATS", "Request", "CSV_HEADER", "column_fields", "csv_rows"]
