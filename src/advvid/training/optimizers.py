"""The optimisers of a training: the run's own, and those that a defense gives to single networks of its system."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from advvid.core.schedules import Schedule
from advvid.defenses.base import Defense

log = logging.getLogger(__name__)


class Joint(Optimizer):
    """Several optimisers, each of its own weights, as one.

    Its state has the form of any optimiser's, with the weights counted through; a gradient scaler sees all of them at once.

    Args:
        optimizers: whose weights have nothing in common.

    Example:
        >>> net, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> len(Joint([torch.optim.SGD(net.parameters()), torch.optim.Adam(other.parameters())]).param_groups)
        2
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        super().__init__(
            [weight for each in optimizers for group in each.param_groups for weight in group["params"]], {}
        )
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for each in self.optimizers for group in each.param_groups]
        self.state = defaultdict(
            dict, {weight: kept for each in self.optimizers for weight, kept in each.state.items()}
        )

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step with each."""
        for each in self.optimizers:
            each.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all."""
        self._gather()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each its part of a state back."""
        groups = list(state_dict["param_groups"])
        for each in self.optimizers:
            own, groups = groups[: len(each.param_groups)], groups[len(each.param_groups) :]
            names = {name for group in own for name in group["params"]}
            kept = {name: found for name, found in state_dict["state"].items() if name in names}
            each.load_state_dict({"param_groups": own, "state": kept})
        self._gather()


def optimizers(model: nn.Module, defense: Defense, schedule: Schedule) -> tuple[Optimizer, Optimizer | None]:
    """Return what moves the weights, and the part of it whose learning rate follows the schedule.

    The schedule's optimiser has all that may be trained but what the defense gives an optimiser of its own, which keeps its
    learning rate.

    Args:
        model: in training, as the defense's ``wrap`` made it.
        defense: see ``Defense.own_optimizers``.
        schedule: whose optimiser has the rest.

    Returns:
        the optimiser, and the schedule's own; None where nothing is left for that.
    """
    own = defense.own_optimizers(model)
    taken = {weight for each in own for group in each.param_groups for weight in group["params"]}
    rest: list[Tensor] = [weight for weight in model.parameters() if weight.requires_grad and weight not in taken]
    if not rest:
        log.info("the defense's own optimiser has all that is trained: schedule.optimizer and its rates are not used")
        return (own[0] if len(own) == 1 else Joint(own)), None
    main = schedule.optimizer(rest)
    return (Joint([main, *own]) if own else main), main


def rates(
    optimizer: Optimizer, scheduled: Optimizer | None, schedule: Schedule, total: int
) -> lr_scheduler.LRScheduler:
    """Return the learning-rate scheduler of what follows the schedule; rates stay as they are where nothing does.

    Args:
        optimizer: as fabric set it up.
        scheduled: the schedule's own part; the same as ``optimizer`` where the defense has none.
        schedule: whose rates these are.
        total: updates of the whole training.
    """
    if scheduled is None:
        return dataclasses.replace(schedule, kind="constant", warmup=0.0).scheduler(optimizer, total)
    return schedule.scheduler(scheduled, total)
