"""Blind votes of people between the answers of two systems, on a local page."""
