"""advvid from Python: evaluate a network, train one, load a run, attack videos. All of it is importable from ``advvid``."""
