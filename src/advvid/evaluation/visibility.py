"""How much of an attack a viewer could see, per clip and over a column (Mu et al., DeepSAVA, sec. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from advvid.evaluation.measures import (
    average_absolute_perturbation,
    average_iterations,
    average_success_perturbation,
    fooling_rate,
)
from advvid.metrics.similarity import dissimilarity
from advvid.threats.sparse import l21

# The largest distances that the paper allows (sec. 4.2.2), which a clip that was not fooled counts with.
LIMITS = {"l21": 0.1, "dssim": 0.08}
# Values compared at once: SSIM holds some twenty copies of each, which of a batch of long clips no memory has room for.
AT_ONCE = 2**21


def visibility(x_adv: Tensor, clips: Tensor) -> dict[str, Tensor]:
    """Return the l2,1 norm of each clip's change and its loss of SSIM, each summed over frames.

    Shape:
        x_adv, clips: ``[B, C, T, H, W]``; results ``[B]``. Inputs of another kind have neither measure: the result is
        then empty.

    Example:
        >>> clip = torch.rand(1, 3, 2, 16, 16)
        >>> {name: float(value) for name, value in visibility(clip, clip).items()}
        {'l21': 0.0, 'dssim': 0.0}
    """
    if clips.dim() != 5:
        return {}
    frames = max(1, AT_ONCE // max(1, clips[:, :, 0].numel()))
    with torch.no_grad():
        pairs = zip(x_adv.split(frames, dim=2), clips.split(frames, dim=2), strict=True)
        apart = torch.stack([dissimilarity(a, b) for a, b in pairs]).sum(dim=0)
        # Rounding leaves equal frames a hair below 1.
        return {"l21": l21(x_adv - clips), "dssim": apart.clamp_min(0)}


def column_measures(samples: Sequence[Mapping[str, Any]], column: str, right: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paper's measures of one column; None where no clip gives a value.

    Args:
        samples: the lines of ``samples.jsonl``.
        column: its name.
        right: verdicts, see ``advvid.evaluation.tally.verdicts``.

    Returns:
        ``fooling_rate``, ``average_iterations``, ``average_success_perturbation`` in the attack's own distance and in
        ``l21`` and ``dssim``, and ``average_absolute_perturbation`` in the two.
    """
    rows = [line["attacks"][column] for line in samples]
    clean, attacked = right["clean"], right[column]
    success = {"distance": average_success_perturbation(clean, attacked, [row["distance"] for row in rows])}
    absolute = {}
    for name, limit in LIMITS.items():
        if all(name in row for row in rows):
            far = [row[name] for row in rows]
            success[name] = average_success_perturbation(clean, attacked, far)
            absolute[name] = average_absolute_perturbation(clean, attacked, far, limit)
    return {
        "fooling_rate": fooling_rate(clean, attacked),
        "average_iterations": average_iterations(clean, attacked, [row["steps"] for row in rows]),
        "average_success_perturbation": success,
        "average_absolute_perturbation": absolute,
    }
