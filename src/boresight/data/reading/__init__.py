"""Read a file, a folder or a hub data set into canonical examples."""
