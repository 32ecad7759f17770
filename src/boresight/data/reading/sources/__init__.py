"""Data that are not read from a single file: generated from a seed, or mixed from several sources."""
