"""Scoring a model under every column of a table, checking each claim, and the table itself."""
