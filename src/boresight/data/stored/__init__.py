"""Rows and examples on the disk, read one at a time: what they take in memory does not grow with them."""
