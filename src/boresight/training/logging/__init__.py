"""Write metrics to files, the terminal and experiment trackers."""
