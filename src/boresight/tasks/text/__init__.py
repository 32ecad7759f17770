"""Rewards of plain text: equal to a gold answer, containing it, of a form, of a length."""
