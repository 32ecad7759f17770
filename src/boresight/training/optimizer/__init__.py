"""The optimizer: learning rates, AdamW, AdamW on weights that are stored in two halves, and clipping."""
