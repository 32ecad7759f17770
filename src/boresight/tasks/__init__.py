"""Tasks with a verifier, one folder per task: problems, prompts, verifier, rewards and evaluation."""
