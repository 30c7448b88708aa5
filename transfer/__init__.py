"""Carries weights into real engines, trains and evaluates there, and brings records back."""
