"""The training loop and what it needs: batches, optimizer, metrics and checks of the first step."""
