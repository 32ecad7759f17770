"""Data that is no file of its own: made from a seed, or mixed from several sources."""
