"""From the numbers of a run to sentences: what is wrong, why, and how to fix it."""
