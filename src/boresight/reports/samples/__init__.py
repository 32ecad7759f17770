"""Prepare samples for a page: count answers that were cut, and shorten long texts."""
