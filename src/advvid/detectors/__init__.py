"""What tells attacked clips from clean ones, and sends them to the purifier that they need.

The public classes are listed in ``__init__.pyi`` and imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
