"""Requests to language models: client, limits, budget and a ledger that keeps every reply."""
