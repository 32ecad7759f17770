"""Constraints on an answer that can be checked by a program."""
