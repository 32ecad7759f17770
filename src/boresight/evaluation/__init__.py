"""Compare systems by win rate with sanity checks of the judge, by any reward, or by leaderboards."""
