"""Compare systems: win rates with judge controls, and leaderboards."""
