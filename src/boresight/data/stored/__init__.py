"""Rows and examples on the disk, read one at a time, so that memory does not grow with their number."""
