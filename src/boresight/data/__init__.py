"""From files to token rows with a loss mask."""
