"""Ways to send a request: OpenAI-compatible HTTP, its batch API, or a model in this process."""
