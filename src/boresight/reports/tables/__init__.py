"""Tables of metrics with intervals: on pages, in the terminal, and as Markdown, CSV and LaTeX."""
