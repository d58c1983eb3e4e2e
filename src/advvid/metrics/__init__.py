"""Intervals, and how alike two clips are."""
