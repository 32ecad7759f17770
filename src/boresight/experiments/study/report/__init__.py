"""The report of a study: its figures, tables and page."""
