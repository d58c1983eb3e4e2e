"""The training loop, validation, and what defenses need trained first."""
