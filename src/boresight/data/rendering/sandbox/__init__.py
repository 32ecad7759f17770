"""Rendering of templates that nobody has looked at, within limits of time and memory."""
