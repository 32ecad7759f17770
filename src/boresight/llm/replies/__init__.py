"""Parse untrusted server output: typed failures, JSON of bounded size, replies, and plausible usage."""
