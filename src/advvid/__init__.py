"""advvid: train video classifiers against adversaries and measure them against every attack."""

__version__ = "0.1.0"
