"""Whether a model answers as a classifier of single clips does: in evaluation mode, without a state, clip by clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite
from advvid.core.later import require
from advvid.evaluation.check_rules import BATCH, Check, finding
from advvid.evaluation.untouched import Snapshot
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification

# Clips that are scored alone and in another batch, and again at the end.
FEW = 4
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
REMEDY = "put the whole model into evaluation mode and keep its statistics fixed"


def require_evaluation_mode(model: nn.Module) -> None:
    """Refuse a model of which some module stays in training mode after ``model.eval()``.

    Raises:
        AdvvidError: naming the module; BatchNorm is named as what it is.
    """
    training = {name: module for name, module in model.named_modules() if module.training}
    for name, module in training.items():
        if isinstance(module, _BatchNorm):
            raise _batch_norm(name)
    if training:
        name, module = next(iter(training.items()))
        raise AdvvidError(
            f"{name or 'the model'} ({type(module).__name__}) is in training mode although the model was put into evaluation "
            f"mode: {REMEDY}"
        )


def require_no_state(model: nn.Module, before: Snapshot, buffers: Mapping[str, Tensor]) -> None:
    """Refuse a model that changes itself when it is called.

    Args:
        model: after a call.
        before: what it was like before.
        buffers: copies of its buffers from before: batch normalisation moves its statistics without a trace.

    Raises:
        AdvvidError: naming what changed.
    """
    after = Snapshot.of(model)
    moved = [name for name, value in model.named_buffers() if name in buffers and not torch.equal(value, buffers[name])]
    changed = [*moved, *(name for name in after.tensors if after.tensors[name] != before.tensors.get(name))]
    norms = [name for name in changed if name.endswith(STATISTICS)]
    if norms:
        raise _batch_norm(norms[0].rpartition(".")[0])
    what = before.differs(after) or (f"changed the model's weights or buffers ({moved[0]})" if moved else None)
    if what is not None:
        raise AdvvidError(
            f"a call of the model {what}: its answers depend on what it was asked before, so that no table holds; let forward "
            "change nothing"
        )


def _batch_norm(name: str) -> AdvvidError:
    return AdvvidError(
        f"the model's BatchNorm {name} works in training mode: it normalises each clip by its neighbours in the batch, and "
        f"its statistics drift; {REMEDY}"
    )


def companions(model: nn.Module, clips: Tensor, out: Tensor, task: Task) -> Check:
    """Score a few clips alone, and in other places of another batch, and compare with the batch that they came in.

    Args:
        model: whose two calls on the same clips agree.
        clips: ``[B, ...]``.
        out: the model's output for them.
        task: for the verdicts.

    Returns:
        the check ``batch_dependent``.

    Raises:
        AdvvidError: where a clip's prediction changes with its batch by more than rounding.
    """
    few = clips[:FEW]
    with torch.no_grad():
        alone = torch.cat([model(clip[None]) for clip in few])
        mixed = model(torch.cat([few.flip(-1), few.flip(0)]))[len(few) :].flip(0)
    spread = (out.max() - out.min()).clamp_min(1e-12)
    here, verdict = out[: len(few)], task.predict(out[: len(few)])
    apart = torch.stack([(other - here).abs().flatten(1).amax(dim=1) / spread for other in (alone, mixed)])
    moved = torch.stack([(task.predict(other) != verdict) for other in (alone, mixed)]) & (apart > BATCH)
    furthest = float(apart.max())
    said = f"alone or in another batch, {len(few)} clips get outputs that differ by up to {furthest:.2g} of their range"
    bare = [n for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is None]
    said += f"; {bare[0]} is a BatchNorm without running statistics" if bare else ""
    if bool(moved.any()):
        raise AdvvidError(
            f"the model's answer to a clip depends on the other clips of its batch: {said}, and "
            f"{int(moved.any(dim=0).sum())} predictions change; make it treat each clip by itself"
        )
    return finding("batch_dependent", furthest > BATCH, said)


def require_answers(out: object, batch: Batch, task: Task) -> None:
    """Refuse outputs that are no answer to a batch, and labels that no output stands for.

    Args:
        out: what the model put out for the clean clips.
        batch: the clips.
        task: a classification's labels are held against the number of outputs.

    Raises:
        AdvvidError: naming the clip, or the shape.
    """
    if not isinstance(out, Tensor) or out.dim() == 0 or len(out) != len(batch):
        said = (
            f"tensor of shape {' x '.join(map(str, out.shape)) or '()'}"
            if isinstance(out, Tensor)
            else type(out).__name__
        )
        raise AdvvidError(
            f"the model puts out a {said} for {len(batch)} clips: it owes one row per clip, such as logits [B, K]"
        )
    if isinstance(task, Classification):
        if out.dim() != 2:
            raise AdvvidError(f"the model puts out {out.dim()} dimensions for a classification: it owes logits [B, K]")
        _require_labels(batch.target, out.shape[1], batch.ids)
    require_finite(out, batch.ids, "the clean clips")


def _require_labels(target: Tensor, classes: int, ids: Sequence[str]) -> None:
    if target.dim() != 1 or target.is_floating_point() or target.dtype == torch.bool:
        return  # another task's labels
    beyond = (target < 0) | (target >= classes)

    def first() -> list[Tensor]:
        index = beyond.int().argmax()
        return [index, target.index_select(0, index[None])[0]]

    def message(figures: Sequence[float]) -> str:
        index, label = map(int, figures)
        return (
            f"clip {ids[index]} has the label {label}, but the model knows {classes} classes, numbered from 0: "
            "choose the model that belongs to the data set, or mend the labels"
        )

    require(~beyond.any(), first, message)


def require_task(task: Task, out: Tensor, batch: Batch) -> None:
    """Refuse a task whose loss, verdict and prediction are not one per clip, or contradict each other.

    Raises:
        AdvvidError: naming what is wrong.
    """
    name, size = type(task).__name__, len(batch)
    loss, right, pred = task.loss(out, batch.target), task.correct(out, batch.target), task.predict(out)
    margin = task.margin(out, batch.target)
    for what, value in (("loss", loss), ("correct", right), ("predict", pred), ("margin", margin)):
        if value is not None and value.shape[:1] != (size,):
            raise AdvvidError(
                f"{name}.{what} returns the shape {tuple(value.shape)} for {size} clips: it owes one value per clip"
            )
    if right is not None and right.dtype != torch.bool:
        raise AdvvidError(f"{name}.correct returns {right.dtype} instead of bool: it owes a verdict per clip")
    require_finite(loss, batch.ids, "the clean clips", f"{name}.loss")
    if right is not None and margin is not None and bool(((margin > 1e-3) & ~right | (margin < -1e-3) & right).any()):
        raise AdvvidError(f"{name}.margin contradicts {name}.correct: a right answer has a margin above 0")


class Steady:
    """Remembers the first answers of an evaluation, and asks again at its end.

    Args:
        predict: the evaluation's own way to ask.
        clips: a few clips of its first batch are kept.
        out: the answers to them.
        ids: of the clips.
    """

    def __init__(self, predict: Callable[[Tensor], Tensor], clips: Tensor, out: Tensor, ids: Sequence[str]) -> None:
        self.predict, self.ids = predict, list(ids[:FEW])
        self.clips, self.out = clips[:FEW].clone(), out[:FEW].clone()

    def ask_again(self, task: Task) -> None:
        """Refuse a model that has come to answer otherwise; one that is random from call to call is left to its check.

        Raises:
            AdvvidError: naming a clip whose answer changed.
        """
        again = self.predict(self.clips)
        spread = (self.out.max() - self.out.min()).clamp_min(1e-12)
        apart = (again - self.out).abs().flatten(1).amax(dim=1) / spread
        moved = (task.predict(again) != task.predict(self.out)) & (apart > BATCH)
        if bool(moved.any()) and torch.equal(again, self.predict(self.clips)):
            raise AdvvidError(
                f"the model answers clip {self.ids[int(moved.nonzero()[0])]} otherwise at the end of the evaluation than at "
                "its beginning: it keeps a state between calls, so results are discarded; let forward depend on the clip "
                "alone"
            )
