"""Fully sharded data parallelism (``runtime=fsdp``): each process keeps a part of the weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from advvid.core.errors import AdvvidError
from advvid.distributed.micro_batches import out_of_memory
from advvid.distributed.parallel import Processes
from advvid.distributed.replicated import Replicated

# A module with at least this part of the weights is gathered and reduced by itself, smaller ones with those around them.
GROUP = 1 / 16


class Sharded(Replicated):
    """Each of W processes holds 1/W of the weights, gradients, optimiser state and moving average (FSDP, Zhao et al. 2023).

    Attacks leave early, choose among sets and search again, so that processes differ in the number of their passes;
    gathering weights in each pass would make them wait for each other for ever. So the whole weights are gathered once
    for each batch (and each validation), used by every pass of the attack and of training without a further word
    between processes, and dropped after the backward pass, which reduces each group's gradients to parts on its way. A
    step thus costs one gathering instead of one for each of its K+1 passes, and the same gradients as in one process.

    Memory of a process, with P the bytes of the weights and an optimiser of two moments (AdamW): 4P/W always; within a
    step P for the whole weights and the gradients of a group or two; P of the host's memory, where the model waits for
    its weights. ``runtime=ddp`` has 4P always, and P more while gradients are averaged. Activations are the same.

    Tested with 2 CPU processes over gloo: bit for bit the weights of ``runtime=ddp``, under every defense but AWP, which
    is refused. A defense that reaches weights in a way that FSDP does not see ends with an error in its first step.

    Args:
        processes: the processes that share the training.

    Raises:
        AdvvidError: if this PyTorch cannot average over CPU processes, as 2.6 cannot (its NCCL can).
    """

    retries: ClassVar[bool] = False

    def __init__(self, processes: Processes) -> None:
        super().__init__(processes)
        self.mesh = init_device_mesh(processes.device.type, (processes.world_size,))
        parts = torch.zeros(processes.world_size, device=processes.device)
        try:
            dist.reduce_scatter_tensor(parts[:1].clone(), parts, op=dist.ReduceOp.AVG)
        except RuntimeError as error:
            raise AdvvidError(
                f"runtime=fsdp needs a newer PyTorch than {torch.__version__} on this device: update it, or choose runtime=ddp"
            ) from error

        # Said of gathering within a backward pass; here the weights are gathered before it.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")

    def place(self, model: nn.Module) -> nn.Module:
        """Return a sharded copy; the model itself waits in the host's memory until ``unwrap``."""
        return self._shard(copy.deepcopy(model.cpu()).to(self.processes.device))

    def average(self, model: nn.Module, decay: float) -> AveragedModel:
        """Return an average of which each process keeps its part."""
        # One weight at a time: PyTorch's way for several at once does not mix parts of weights with whole buffers.
        average = AveragedModel(model, avg_fn=get_ema_avg_fn(decay), use_buffers=True)
        average.module = self._shard(average.module.to(self.processes.device))
        return average

    def _shard(self, model: nn.Module) -> nn.Module:
        for weight in model.parameters():
            weight.data = weight.data.contiguous()  # FSDP takes no others; convolutions keep the layout of their clips
        for module in [*groups(model), model]:
            fully_shard(module, mesh=self.mesh, reshard_after_forward=False)
            assert isinstance(module, FSDPModule)
            module.set_reshard_after_backward(False, recurse=False)
        return model

    @contextmanager
    def gathered(self, model: nn.Module) -> Iterator[None]:
        """Gather the whole weights for as long as a block; all processes have to come here.

        Raises:
            AdvvidError: if memory runs out, since one process alone cannot try again; or if the block leaves a gradient
                that was not reduced, because it came to the weights around the model's own forward pass.
        """
        parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
        try:
            for part in parts:
                part.unshard()
            yield
            if any(p.grad is not None for p in model.parameters()):
                raise AdvvidError(
                    "runtime=fsdp missed gradients, since the defense reaches weights around the model's own forward pass: "
                    "choose runtime=ddp"
                )
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise AdvvidError(
                "memory ran out in a process of runtime=fsdp, which cannot try again without the others: set "
                "schedule.micro_batch to fewer clips"
            ) from error
        finally:
            for part in parts:
                part.reshard()

    def agreed(self, clips: int) -> int:
        """Return the least of all processes: a backward pass is the work of all, so all need as many."""
        return int(self.processes.least(clips))

    def reduce(self, parameters: Iterable[nn.Parameter], *numbers: float | Tensor) -> Sequence[float | Tensor]:
        """Return the sums of ``numbers``; backward passes have averaged the gradients already."""
        return self.processes.sum([float(number) for number in numbers])

    def whole(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state with whole tensors in the first process; all processes have to come here."""
        return {name: self._whole(value) for name, value in state.items()}

    def _whole(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.whole(value)
        if not isinstance(value, DTensor):
            return value
        full = value.full_tensor()
        return full.cpu() if self.processes.main else None

    def load(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put each process's part of whole weights into a sharded model."""
        own = model.state_dict()
        model.load_state_dict({name: _part(value, own[name]) for name, value in state.items()})

    def load_optimizer(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Put each process's part of the state into the optimiser.

        Raises:
            AdvvidError: if the optimiser keeps tensors of another shape than the weights', which have no parts.
        """
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        parts: dict[int, dict[str, Any]] = {}
        for index, kept in state["state"].items():
            like = weights[index]
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != like.shape:
                    raise AdvvidError(
                        f"runtime=fsdp cannot go on with an optimiser whose {name} has another shape than the weights: choose "
                        "torch.optim.AdamW, Adam or SGD, or runtime=ddp"
                    )
            parts[index] = {
                name: _part(value, like) if isinstance(value, Tensor) and value.dim() else value
                for name, value in kept.items()
            }
        optimizer.load_state_dict({**state, "state": parts})

    def unwrap(self, model: nn.Module, plain: nn.Module) -> nn.Module:
        """Put the whole weights into the model that ``place`` was given, back on its device, and return that."""
        full = {name: v.full_tensor() if isinstance(v, DTensor) else v for name, v in model.state_dict().items()}
        plain.load_state_dict(full)
        return plain.to(self.processes.device)


def groups(model: nn.Module) -> list[nn.Module]:
    """Return the modules whose weights travel together, innermost first; the rest goes with the model.

    Small groups bound the gradients that are whole at any moment of a backward pass; too small ones cost time.

    Example:
        >>> [type(m).__name__ for m in groups(nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 1)))]
        ['Linear', 'Linear']
    """
    weights = list(model.parameters())
    if len(weights) < len(list(model.named_parameters(remove_duplicate=False))):
        return []  # weights that two modules share have to be in one group
    least, taken, found = GROUP * sum(p.numel() for p in weights), set[int](), list[nn.Module]()

    def visit(module: nn.Module) -> None:
        for child in module.children():
            visit(child)
        rest = [p for p in module.parameters() if id(p) not in taken]
        # A list of modules is never called, so that nothing would tell when its turn is.
        called = type(module).forward is not nn.Module.forward
        if module is not model and called and rest and sum(p.numel() for p in rest) >= least:
            found.append(module)
            taken.update(id(p) for p in rest)

    visit(model)
    return found


def _part(value: Tensor, like: Tensor) -> Tensor:
    """Return a process's part of a whole tensor, in the form of ``like``; itself where that is whole."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
