"""Device and precision, through Lightning Fabric."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from advvid.errors import AdvvidError

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a run computes.

    Args:
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        precision: of training and of the attack's search: ``fp32``, ``bf16`` or ``fp16``. Verdicts are always fp32.
        threads: CPU threads of PyTorch; None leaves its default.
        tf32: let matrix products of a GPU use TF32 where precision is fp32.
    """

    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    tf32: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "gpu"):
            raise AdvvidError(f"runtime.device={self.device!r} is not known: choose auto, cpu or gpu")
        if self.precision not in PRECISIONS:
            raise AdvvidError(
                f"runtime.precision={self.precision!r} is not known: choose one of {', '.join(PRECISIONS)}"
            )

    def fabric(self) -> Fabric:
        """Start Fabric on the chosen devices.

        Raises:
            AdvvidError: if a GPU is asked for, or needed, where there is none.
        """
        if self.device == "gpu" and not torch.cuda.is_available():
            raise AdvvidError("runtime.device=gpu was asked for but PyTorch sees no GPU: choose runtime=cpu")
        if self.precision == "fp16" and not (torch.cuda.is_available() and self.device != "cpu"):
            raise AdvvidError("runtime.precision=fp16 needs a GPU: choose bf16 or fp32 on a CPU")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        fabric = Fabric(accelerator=self.device, devices=1, precision=PRECISIONS[self.precision])  # type: ignore[arg-type]
        fabric.launch()
        return fabric
