"""Send requests to language models: client, rate limits, budget, and a ledger that stores every reply."""
