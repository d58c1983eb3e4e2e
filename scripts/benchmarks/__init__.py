"""The parts of scripts/benchmark.py: a module for each section, and what they share."""
