"""The leaderboard as one static page: tables, charts and records in a single file that fetches nothing."""
