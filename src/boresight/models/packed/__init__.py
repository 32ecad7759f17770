"""Log-probabilities on the packed layout: rows end to end, every prompt once, no padding."""
