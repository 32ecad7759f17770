"""Rewards of plain text: the answer equals a gold answer or contains it, has a given form, or has a given
length."""
