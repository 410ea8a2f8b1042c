"""Results as files: columns.csv, depth.tif, confidence.tif, summary.json, pictures."""

from segdepth.export.movie import FORMATS, MovieExport
from segdepth.export.table import CSV_HEADER, column_fields, csv_rows

__all__ = ["MovieExport", "FORMATS", "CSV_HEADER", "column_fields", "csv_rows"]
