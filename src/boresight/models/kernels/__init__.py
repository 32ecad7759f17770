"""Faster layers, matrix products and memory settings."""
