"""Faster layers and matrix products, compact weights, and memory settings."""
