"""Sample completions with a key-value cache: many prompts, k samples each."""
