"""A discriminator with its own optimiser, and the two sides of its game with a generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from advvid.core import checkpoint
from advvid.core.batch import derive_seed
from advvid.distributed.parallel import Processes


class Critic:
    """The discriminator's half of eq. 9 (Kinfu & Vidal), trained on clips as they come.

    Eq. 11 as printed has no maximum: ``- log D(G(X'))`` grows without bound as D falls. As the paper's code, it is read
    as the loss of Goodfellow et al. 2014, ``log D(X) + log(1 - D(G(X')))``; the generator's half, eq. 12, stands as it is.

    The network is made when the first clips come, as it depends on their size.

    Args:
        network: makes the discriminator from ``(3, T, H, W)``.
        optimizer: makes its optimiser from the parameters.
    """

    def __init__(self, network: Callable[..., nn.Module], optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        self.make_network, self.make_optimizer = network, optimizer
        self.network: nn.Module | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self._saved: dict[str, Any] | None = None

    def ready(self, clips: Tensor, seed: int) -> None:
        """Make the network for these clips, the same in every process, or bring back the one of a checkpoint."""
        if self.network is not None:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "discriminator"))
            network = self.make_network(tuple(clips.shape[1:]))
        self.network = network.to(clips.device)
        self.optimizer = self.make_optimizer(self.network.parameters())
        if self._saved is not None:
            self.network.load_state_dict(self._saved["network"])
            self.optimizer.load_state_dict(self._saved["optimizer"])
            self._saved = None

    def surprise(self, restored: Tensor) -> Tensor:
        """Return the generator's adversarial loss ``- log D(G(X'))`` of each clip, ``[B]``; only G receives its gradient."""
        assert self.network is not None  # made by ready()
        # On copies: this pass moves no statistics, and putting them back would spoil its own backward pass.
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()}
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        return functional.softplus(-functional_call(self.network, weights | buffers, (restored,)).float())

    def learn(self, pairs: Sequence[tuple[Tensor, Tensor]], processes: Processes) -> Tensor:
        """Take one optimiser step on clean and restored clips, and return the mean loss.

        Args:
            pairs: parts of a batch, clean clips with restored ones, both without gradient.
            processes: the processes whose gradients are averaged.
        """
        assert self.network is not None  # made by ready()
        assert self.optimizer is not None
        total, clips = torch.zeros((), device=pairs[0][0].device), 0
        for clean, restored in pairs:
            real, made = self.network(clean).float(), self.network(restored.float()).float()
            loss = (functional.softplus(-real) + functional.softplus(made)).sum()
            loss.backward()
            total, clips = total + loss.detach(), clips + len(clean)
        for weight in self.network.parameters():
            if weight.grad is not None:
                weight.grad /= clips
        processes.average_gradients(self.network.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total / clips

    def state_dict(self) -> dict[str, Any] | None:
        """Return the weights and the optimiser's state; None before there are any."""
        if self.network is None or self.optimizer is None:
            return self._saved
        return {"network": checkpoint.clone(self.network.state_dict()), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take them back, when the next clips come."""
        self.network, self.optimizer, self._saved = None, None, state
