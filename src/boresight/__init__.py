"""boresight: align small language models, and know beforehand whether the run can work.

Nothing heavy is imported here: torch and transformers load when a verb that needs them runs.
"""

__version__ = "0.1.0"
