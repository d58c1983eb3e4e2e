"""Devices, processes and precision, through Lightning Fabric."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch.multiprocessing.spawn import ProcessException

from advvid.core.allowed import check_fields
from advvid.core.errors import AdvvidError
from advvid.distributed.compiled import Compile
from advvid.distributed.lightning import DDPStrategy, Fabric, LightningEnvironment
from advvid.distributed.parallel import Processes
from advvid.distributed.signals import GO_ON, Interrupted, StoppedError, handed_to_children, interruptible

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
# One process may attack or write for long while the others wait.
PATIENCE = timedelta(days=2)
# What a process carries out: it is given Fabric, its processes, and the launch's own arguments.
Work = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a run computes.

    Args:
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        devices: processes on this machine, one for each GPU; ``auto``: all GPUs, or 2 processes on a CPU. Started by
            torchrun, a run has the processes that torchrun says, on as many machines.
        strategy: what several processes hold of a model in training: ``ddp`` all of it each, ``fsdp`` a part each (see
            ``advvid.distributed.sharding``). Evaluation has the whole model in each process.
        precision: of training and of the attack's search: ``fp32``, ``bf16`` or ``fp16``. Verdicts are always fp32.
        threads: CPU threads of PyTorch; None leaves its default (the cores, shared by the processes).
        tf32: let matrix products and convolutions of a GPU use TF32 where precision is fp32.
        compile: compile the model's forward and backward passes with ``torch.compile``: minutes at the start, faster
            steps on a GPU, slower ones on most CPUs; ``reduce-overhead`` records CUDA graphs of a training's steps instead
            (see ``advvid.distributed.compiled``).
        profile: write a profiler trace and a breakdown of a few batches to the run folder.
        sync_batchnorm: BatchNorm over the clips of all processes instead of each one's own (GPUs only).
        device_transforms: let a GPU resize, crop and mirror the training clips of video files, which loader processes do
            otherwise; values that are resized differ by one grey level at most. On a CPU it changes nothing.
    """

    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Ge(1), Le(4096)] | Literal["auto"] = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: Annotated[int, Ge(1), Le(4096)] | None = None
    tf32: bool = False
    compile: Compile = False
    profile: bool = False
    sync_batchnorm: bool = False
    device_transforms: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        for name, chosen in (
            (f"compile={str(self.compile).lower()}", self.compile),
            ("precision=fp16", self.precision == "fp16"),
        ):
            if self.strategy == "fsdp" and chosen:
                raise AdvvidError(
                    f"runtime.{name} does not go with runtime.strategy=fsdp: leave it out, or choose runtime=ddp"
                )

    @property
    def on_gpu(self) -> bool:
        """Whether the run computes on a GPU."""
        return self.device != "cpu" and torch.cuda.is_available()

    @property
    def world_size(self) -> int:
        """How many processes the run has in all."""
        if _torchrun():
            return int(os.environ["WORLD_SIZE"])
        if self.devices == "auto":
            return torch.cuda.device_count() if self.on_gpu else 2
        return int(self.devices)

    def fabric(self) -> Fabric:
        """Start Fabric in this process alone.

        Raises:
            AdvvidError: if a GPU is asked for, or needed, where there is none.
        """
        self._check()
        accelerator: Any = "gpu" if self.on_gpu else "cpu"
        precision: Any = PRECISIONS[self.precision]
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
        fabric.launch()
        return fabric

    def launch(self, work: Work, *arguments: Any) -> Any:
        """Carry out ``work(fabric, processes, *arguments)`` in every process.

        Args:
            work: a function of a module, which other processes can import.
            arguments: what can be sent to other processes.

        Returns:
            what ``work`` returns, where there is one process; else None.

        Raises:
            AdvvidError: if the devices are not there, or as ``work`` raised it in any process.
        """
        if self.strategy == "fsdp" and self.world_size == 1:
            raise AdvvidError(
                "runtime.strategy=fsdp shares a model among processes, but there is one: choose runtime=auto, or "
                "runtime.devices=2 or more"
            )
        if self.world_size == 1:
            return _in_process(self.fabric(), self, None, work, *arguments)
        self._check()
        accelerator: Any = "gpu" if self.on_gpu else "cpu"
        precision: Any = PRECISIONS[self.precision]
        if _torchrun():
            local = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
            fabric = Fabric(
                accelerator=accelerator,
                devices=local,
                num_nodes=self.world_size // local,
                precision=precision,
                strategy=DDPStrategy(timeout=PATIENCE),
            )
            fabric.launch()
            return _in_process(fabric, self, None, work, *arguments)
        strategy = DDPStrategy(start_method="spawn", timeout=PATIENCE, cluster_environment=LightningEnvironment())
        fabric = Fabric(accelerator=accelerator, devices=self.world_size, precision=precision, strategy=strategy)
        try:
            with handed_to_children():
                # Bound, since Fabric would look into arguments for tensors to move.
                fabric.launch(_Bound(self, _logging(), work, arguments))
        except ProcessException as error:
            told, stopped = _told(error)
            raise (StoppedError if stopped else AdvvidError)(told) from None
        return None

    def _check(self) -> None:
        if self.device == "gpu" and not torch.cuda.is_available():
            raise AdvvidError("runtime.device=gpu was asked for but PyTorch sees no GPU: choose runtime=cpu")
        if self.precision == "fp16" and not self.on_gpu:
            raise AdvvidError("runtime.precision=fp16 needs a GPU: choose bf16 or fp32 on a CPU")
        if self.on_gpu and not _torchrun() and self.world_size > torch.cuda.device_count():
            raise AdvvidError(
                f"runtime.devices={self.devices} was asked for but there are {torch.cuda.device_count()} GPUs: ask for fewer"
            )
        if self.sync_batchnorm and not self.on_gpu:
            raise AdvvidError("runtime.sync_batchnorm=true needs GPUs: PyTorch has no such BatchNorm for a CPU")


@dataclass
class _Bound:
    """A function with its arguments, to be sent to another process."""

    runtime: Runtime
    log_config: dict[str, Any]
    work: Work
    arguments: tuple[Any, ...]

    def __call__(self, fabric: Fabric) -> None:
        # Nothing goes back: a large result would fill the pipe to the process that waits before it reads.
        try:
            with interruptible():
                _in_process(fabric, self.runtime, self.log_config, self.work, *self.arguments)
                fabric.barrier()
        except Interrupted as stop:  # torch takes any KeyboardInterrupt for a good end
            raise StoppedError(f"{stop}; what is finished is kept: {GO_ON}") from None
        # Behind all else that ends a process of multiprocessing, and only where the work was done.
        Finalize(None, _leave, exitpriority=-1000)


def _leave() -> None:
    """End this process without taking Python down: threads of PyTorch's process group may abort that."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _in_process(
    fabric: Fabric, runtime: Runtime, log_config: dict[str, Any] | None, work: Work, *arguments: Any
) -> Any:
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    torch.set_float32_matmul_precision("high" if runtime.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = runtime.tf32  # PyTorch's own default rounds every convolution of a GPU
    processes = Processes(fabric.global_rank, fabric.world_size, fabric.device, runtime.strategy == "fsdp")
    if log_config is not None and processes.main:
        logging.config.dictConfig(log_config)
    elif not processes.main:
        logging.disable(logging.WARNING)
    return work(fabric, processes, *arguments)


def _torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _logging() -> dict[str, Any]:
    """Return how this process writes its log, for one that is started anew."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if not HydraConfig.initialized():
        return {"version": 1, "disable_existing_loggers": False}
    found: Any = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    return found


def _told(error: ProcessException) -> tuple[str, bool]:
    """Return in one sentence why a process ended, and whether a signal asked for it."""
    found = re.findall(r"^advvid\.(?:\w+\.)+(AdvvidError|StorageError|StoppedError): (.*)$", str(error), re.M)
    if found:
        return found[-1][1], found[-1][0] == "StoppedError"
    lines = [line for line in str(error).splitlines() if line.strip()]
    ended = lines[-1].strip() if lines else "without a word"
    return f"one of the processes ended ({ended}) and the others were stopped: {GO_ON}", False
