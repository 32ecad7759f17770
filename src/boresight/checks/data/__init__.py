"""Checks of examples and of token rows."""
