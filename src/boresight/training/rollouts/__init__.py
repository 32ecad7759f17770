"""Sample rows during training, from the policy, its reference or a vLLM server."""
