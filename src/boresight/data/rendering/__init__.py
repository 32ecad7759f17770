"""Conversations as the text of a chat template, and that text as token rows."""
