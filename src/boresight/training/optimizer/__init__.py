"""AdamW on weights that are stored in two halves."""
