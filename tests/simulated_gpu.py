"""A GPU for tests on machines without one: its tensors say ``cuda:0`` and hold their numbers on the CPU.

Every operator runs on the CPU's numbers, so that results are real and equal those of a CPU run to the bit. What a GPU refuses is
refused: a host tensor beside one of the GPU, a generator of the other device, a host tensor indexed by one of the GPU. What
makes the host wait for a GPU is counted, with file and line.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import advvid
from advvid.threats import base
from gpu_rules import DeviceError, judge

CUDA = torch.device("cuda:0")
# As its modules were compiled: an installed or linked package does not lie beside these tests.
SOURCE = str(Path(advvid.__file__).parent)
aten = torch.ops.aten
# Operators that change a tensor's shape in place.
RESHAPING = {
    aten.transpose_.default,
    aten.squeeze_.dim,
    aten.squeeze_.default,
    aten.unsqueeze_.default,
    aten.t_.default,
    aten.as_strided_.default,
}


class GpuTensor(Tensor):
    """A tensor that says it lies on ``cuda:0``; PyTorch's engine takes it for one without storage."""

    @staticmethod
    def __new__(cls, host: Tensor) -> GpuTensor:
        form = {"strides": host.stride(), "storage_offset": host.storage_offset(), "dtype": host.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, host.shape, **form, device="meta")
        made.host = host.detach()
        return made

    device = property(lambda self: CUDA)
    is_cuda, is_cpu, is_meta = True, False, False

    def __repr__(self) -> str:
        return f"GpuTensor({self.host})"

    def __reduce_ex__(self, protocol):
        return self.host.__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            copied = torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
            memo[id(self)] = copied
        return memo[id(self)]

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def tolist(self):
        return self.cpu().tolist()

    def record_stream(self, stream) -> None:
        """Do nothing: there is one stream."""

    def numpy(self, force: bool = False):
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _carry_out(None, func, args, kwargs or {})


class GpuGenerator(torch.Generator):
    """A generator of the simulated GPU."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls) if torch.device(device).type == "cuda" else torch._C.Generator(device)

    device = property(lambda self: CUDA)


class SimulatedGpu(TorchFunctionMode):
    """Within this block there is a GPU, ``cuda:0``.

    Args:
        own_draws: let it draw the attacks' random numbers itself, as a GPU does; the CPU's bits are not to be had then.

    Attributes:
        waits: how often the host waited, by (kind, place in advvid's source); kind is ``device to host`` or ``host to
            device``.

    Example:
        >>> with SimulatedGpu() as gpu:
        ...     bool(torch.ones(2, device="cuda").all())
        True
        >>> gpu.count("device to host")
        1
    """

    def __init__(self, own_draws: bool = False) -> None:
        super().__init__()
        self.own_draws = own_draws
        self.waits: Counter[tuple[str, str]] = Counter()
        self._stack = ExitStack()

    def count(self, kind: str | None = None) -> int:
        """Return how often the host waited, of one kind or in all."""
        return sum(number for (found, _), number in self.waits.items() if kind in (None, found))

    def note(self, kind: str) -> None:
        """Count a wait at the innermost line of advvid that led to it."""
        frame, place = sys._getframe(2), "elsewhere"
        while frame is not None:
            if frame.f_code.co_filename.startswith(SOURCE):
                place = f"{frame.f_code.co_filename[len(SOURCE) + 1 :]}:{frame.f_lineno}"
                break
            frame = frame.f_back
        self.waits[kind, place] += 1

    def __enter__(self) -> SimulatedGpu:
        with ExitStack() as stack:
            driver = _driver()
            if not self.own_draws:
                driver[base] = {"drawn_on": lambda device: torch.device("cpu")}
            for owner, values in driver.items():
                for name, value in values.items():
                    stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(_Operators(self))
            super().__enter__()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args, kwargs = _mapped(_numbered, args), _mapped(_numbered, kwargs or {})
        if func is Tensor.to and isinstance(args[0], GpuTensor):
            made = func(*args, **kwargs)
            stays = (
                isinstance(made, GpuTensor)
                and made.dtype == args[0].dtype
                and not kwargs.keys() & {"copy", "memory_format"}
            )
            return args[0] if stays else made
        if kwargs.get("generator") is not None:
            wanted = kwargs.get("device") or (kwargs["out"].device if kwargs.get("out") is not None else None)
            wanted = wanted or (args[0].device if args and isinstance(args[0], Tensor) else "cpu")
            if torch.device(wanted).type != kwargs["generator"].device.type:
                raise DeviceError(
                    f"Expected a {wanted} device type for generator but found {kwargs['generator'].device.type}"
                )
        if func is Tensor.__setitem__ and isinstance(args[0], GpuTensor) and isinstance(args[2], int | float):
            return func(args[0], args[1], torch.tensor(args[2], dtype=args[0].dtype))  # as PyTorch does it for a GPU
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == CUDA:
            made = func(*args, **{key: value for key, value in kwargs.items() if key != "device"})
            return made.to(CUDA)  # as PyTorch does it, where no mode can see it
        if func is Tensor.new_tensor and isinstance(args[0], GpuTensor) and "device" not in kwargs:
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(CUDA)
        return func(*args, **kwargs)


def _driver():
    """Return what stands for the driver: attributes by their owner."""
    stream = SimpleNamespace(wait_event=lambda event: None, record_event=lambda: None)
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: "simulated",
        "get_device_capability": lambda device=None: (9, 0),
        "mem_get_info": lambda device=None: (2**37, 2**37),
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
        "Stream": lambda device=None: stream,
        "current_stream": lambda device=None: stream,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
    }
    return {
        torch.cuda: cuda,
        torch: {"Generator": GpuGenerator},
        torch.backends.cudnn: {"is_acceptable": lambda tensor: False},
        torch.optim.Optimizer: {"_accelerator_graph_capture_health_check": lambda self: None},
        Tensor: {"pin_memory": lambda self, device=None: self, "is_pinned": lambda self, device=None: True},
    }


class _Operators(TorchDispatchMode):
    """Takes every operator to the CPU's numbers, factories with ``device="cuda"`` among them."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _carry_out(self.gpu, func, args, kwargs or {})


def _carry_out(gpu: SimulatedGpu | None, func, args, kwargs):
    """Run an operator on the CPU's numbers, after the checks that a GPU makes."""
    leaves: list = []
    _mapped(leaves.append, (args, kwargs))
    given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    on_gpu = [tensor for tensor in given if isinstance(tensor, GpuTensor)]
    places = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    there = bool(on_gpu)
    if places:
        there = places[-1].type in ("cuda", "meta")  # the engine writes meta where it means the GPU
    if not on_gpu and not there:
        return func(*args, **kwargs)
    wait = judge(func, args, kwargs, given, there)
    if wait and gpu is not None:
        gpu.note(wait)
    own = {id(tensor.host): tensor for tensor in on_gpu}
    result = func(*_mapped(_on_host, args), **_mapped(_on_host, kwargs))
    if func in RESHAPING:
        _reshape(func, args, kwargs)

    def back(value):
        if not isinstance(value, Tensor):
            return value
        if id(value) in own:
            return own[id(value)]
        return GpuTensor(value) if there and not isinstance(value, GpuTensor) else value

    return _mapped(back, result)


def _mapped(change, tree):
    """Change every leaf; PyTorch's own does the same for many more kinds of nodes, in several times the time."""
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind([_mapped(change, inner) for inner in tree])
    if kind is dict:
        return {key: _mapped(change, inner) for key, inner in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return kind(*(_mapped(change, inner) for inner in tree))
    return change(tree)


def _numbered(leaf):
    """Write ``cuda`` as ``cuda:0``: PyTorch would ask the driver for the current device."""
    named = isinstance(leaf, torch.device) or (isinstance(leaf, str) and leaf in ("cuda", "cuda:0"))
    return CUDA if named and torch.device(leaf).type == "cuda" else leaf


def _reshape(func, args, kwargs) -> None:
    """Let the engine know of a shape that was changed in place, as it would for a tensor without storage."""
    with torch.utils._mode_utils.no_dispatch():
        before = torch._C._meta_in_tls_dispatch_include()
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            func(*args, **kwargs)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(before)


def _on_host(leaf):
    if isinstance(leaf, GpuTensor):
        return leaf.host
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def on_host(tree):
    """Return the numbers of a tree of tensors as plain tensors; nothing is counted."""
    return _mapped(lambda leaf: leaf.host if isinstance(leaf, GpuTensor) else leaf, tree)


def same_bits(first, second) -> bool:
    """Tell whether two tensors hold the same bits, wherever they lie; or two trees of tensors and plain values."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_bits(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same_bits, first, second))
    if not isinstance(first, Tensor):
        return bool(first == second)
    first, second = on_host(first).detach(), on_host(second).detach()
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (first, second)))
