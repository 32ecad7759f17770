"""What a saved model holds, and whether all of it arrives in the model that is loaded."""
