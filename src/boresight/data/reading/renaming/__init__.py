"""Rename the columns of a file to the names that layouts read, by `data.columns` or by a guess."""
