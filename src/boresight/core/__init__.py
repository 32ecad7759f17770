"""Modules that all other packages use: errors, files, locks, terminal output, and the types of examples."""
