"""Export a run's model as a folder that other tools can load, with a model card."""
