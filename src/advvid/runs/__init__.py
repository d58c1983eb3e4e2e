"""Finding runs and gathering their tables."""
