"""A run for others: exported with what it claims, and verified by whoever gets it."""
