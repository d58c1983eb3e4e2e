"""The command ``advvid`` with its subcommands."""
