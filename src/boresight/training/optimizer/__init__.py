"""Optimize: learning rates, AdamW, AdamW on weights stored as two 16-bit halves, and clipping."""
