"""From a configuration to objects, and what can be chosen in one."""
