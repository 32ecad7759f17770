"""Constraints on an answer that a program can check."""
