"""Results of arms by prompt and seed, in committed files, and their analysis."""
