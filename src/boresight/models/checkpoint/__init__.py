"""Check that a saved model is complete and that all of it is loaded."""
