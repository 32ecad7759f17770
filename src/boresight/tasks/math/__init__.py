"""Mathematical answers: found in a completion, read as exact numbers, or compared by math-verify."""
