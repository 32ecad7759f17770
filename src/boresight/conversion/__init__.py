"""Convert configs of other trainers to recipes."""
