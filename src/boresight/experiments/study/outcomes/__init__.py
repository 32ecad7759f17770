"""Results of arms by prompt and seed, in files that are committed, and what follows from them."""
