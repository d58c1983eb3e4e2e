"""From a configuration to a finished run: the only place where parts are put together."""
