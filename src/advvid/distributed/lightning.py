"""Lightning Fabric, without torchmetrics, which it would load to ask for a version: seconds of every command."""

from __future__ import annotations

import sys

_there = "torchmetrics" in sys.modules
if not _there:
    sys.modules["torchmetrics"] = None  # type: ignore[assignment]  # Fabric takes it for not installed
try:
    from lightning_fabric import Fabric as Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment as LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy as DDPStrategy
finally:
    if not _there:
        del sys.modules["torchmetrics"]
