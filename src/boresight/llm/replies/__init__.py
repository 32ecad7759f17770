"""What servers send back, read without trust: typed failures, bounded JSON, replies, plausible usage."""
