"""Readers of real data sets, which check everything before anything trains."""
