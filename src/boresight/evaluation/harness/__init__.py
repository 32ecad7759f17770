"""Run tasks of lm-evaluation-harness on several models, and compare the models document by document."""
