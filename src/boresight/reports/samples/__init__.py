"""Samples as a page shows them: counts of cut answers, and long texts shortened."""
