"""Errors, files, locks, terminal output and the forms of examples: what every package uses."""
