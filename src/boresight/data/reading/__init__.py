"""From a file, a folder or a hub id to canonical examples."""
