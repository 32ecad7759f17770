"""Render untrusted chat templates with limits on time and memory."""
