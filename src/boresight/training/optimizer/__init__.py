"""The optimizer: learning rates, AdamW, AdamW on weights that are stored as two 16-bit halves, and
clipping."""
