"""From run folders to pages and tables."""
