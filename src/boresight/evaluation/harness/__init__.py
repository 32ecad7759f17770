"""Tasks of lm-evaluation-harness on several models, document by document."""
