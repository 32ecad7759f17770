"""Mathematical answers: extracted from a completion, compared as exact numbers, or by math-verify."""
