"""Data that are not a single file: generated from a seed, or mixed from several sources."""
