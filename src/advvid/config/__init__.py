"""What a user may say: what can be chosen, the options that belong to no part, and the command line."""
