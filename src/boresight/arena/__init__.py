"""Blind comparison of two systems: people vote on pairs of their answers on a local page."""
