"""Metrics on plain arrays; no engine is imported here."""
