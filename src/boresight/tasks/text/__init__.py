"""Rewards for text: it equals or contains a gold answer, has a given form, or has a given length."""
