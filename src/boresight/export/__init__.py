"""A run's model as a folder that other tools load, with a model card."""
