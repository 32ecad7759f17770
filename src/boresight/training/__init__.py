"""Train a model: loop, batches, optimizer, metrics, and checks of the first step."""
