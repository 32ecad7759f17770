"""Pages of evaluations: win rates, any reward, and tasks of lm-evaluation-harness."""
