"""Findings: sentences about a run that state what is wrong, why, and how to fix it."""
