"""Trained rows as files for other programs."""
