"""advvid: train video classifiers against adversaries and measure them against every attack.

Example:
    >>> import advvid
    >>> table = advvid.evaluate(network, loader, suite="quick")          # doctest: +SKIP

The public names are listed in ``__init__.pyi`` and imported when they are first asked for.
"""

from advvid.core.exports import attach

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)
