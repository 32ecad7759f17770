"""Sentences that refuse a recipe: an unknown key, a wrong value, a file of another kind, a setting without
effect."""
