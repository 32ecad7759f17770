"""Extract mathematical answers from completions, and compare them as exact numbers or by math-verify."""
