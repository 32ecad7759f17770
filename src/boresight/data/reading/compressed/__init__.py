"""Files that are smaller than what they hold."""
