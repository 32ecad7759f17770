"""Configs of other trainers as recipes."""
