"""Parse what servers return without trusting it: typed failures, bounded JSON, replies, plausible usage."""
