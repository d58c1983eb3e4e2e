"""Kills and signals at chance moments, repeatable by their seed: ``python -m tests.drills --count 200``."""
