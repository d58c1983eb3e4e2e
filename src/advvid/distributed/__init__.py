"""Devices, processes, signals, and batches in parts where memory is short.

The public classes are listed in ``__init__.pyi`` and imported when they are first asked for.
"""

from advvid.core.exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
