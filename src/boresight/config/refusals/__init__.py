"""Error messages for recipes: an unknown key, a wrong value, a file of another kind, a setting without
effect."""
