"""Compare systems: win rates with judge controls, any reward with pass@k, and leaderboards."""
