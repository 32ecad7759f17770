"""Columns of a file under the names that layouts read: `data.columns`, and a guess where it is not set."""
