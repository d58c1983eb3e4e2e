"""``advvid.evaluate``: the robustness table of any network, with the guarantees of the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from advvid.api.clips import GivenClips, Layout, given_clips
from advvid.api.network import Network, left_as_found
from advvid.attacks.base import Attack, in_space
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.run_folder import at_work
from advvid.data.checked import check_split
from advvid.data.loader import Clips, eval_batches
from advvid.data.protocol import Dataset, require_dataset
from advvid.evaluation.adaptive import behind_purifiers
from advvid.evaluation.columns import Column
from advvid.evaluation.postprocess import Postprocessing
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.suite import suite_columns, suite_types
from advvid.experiment.scoring import Scoring
from advvid.purifiers.base import Purifier
from advvid.purifiers.purified import PurifiedModel
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification


def evaluate(
    model: nn.Module,
    data: Any,
    suite: str = "autoattack",
    *,
    attacks: Mapping[str, Attack] | None = None,
    classes: Sequence[str] | None = None,
    task: Task | None = None,
    purifiers: Sequence[Purifier | str] = (),
    postprocess: Sequence[str] = (),
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int = 50,
    run_dir: str | Path | None = None,
    learning: Any = None,
    layout: Layout | None = None,
) -> RobustnessTable:
    """Measure a network against every attack of a suite.

    The same as ``python -m advvid.train mode=eval``: budgets are measured again, the checks are made, and with ``run_dir`` the
    files are written and a second call computes only what is missing or has changed. The model is given back as it was found.

    Args:
        model: any module from clips in [0, 1] to logits ``[B, K]``, or to an object with ``logits``. Its normalisation belongs
            inside, see ``advvid.Normalised``.
        data: a data set of advvid (its test split), a torch Dataset or DataLoader of ``(clip, label)`` or ``(clip, label, id)``,
            or two tensors ``(clips, labels)``.
        suite: name of the attacks, as in ``advvid list``.
        attacks: columns in place of a suite, by name: ``{"pgd_8": PGD(eps="8/255")}``.
        classes: their names; numbers where left out.
        task: what a right answer is; one label per clip where left out.
        purifiers: in front of the model, in order: objects, or names as in ``advvid list``. Attackers see them.
        postprocess: ``uint8``, ``codec``: score the same adversarial clips again behind these.
        seed: of all random numbers.
        device: where to compute; a GPU where there is one.
        batch_size: clips at a time.
        run_dir: keeps everything that is computed; None keeps nothing.
        learning: data like ``data`` for attacks that learn (universal ones), other clips than these.
        layout: ``CTHW`` or ``TCHW``, where a clip's shape does not say it.

    Shape:
        clips ``[B, 3, T, H, W]``, float32 in [0, 1] or uint8; a network for ``[B, T, 3, H, W]`` is taken with such clips.

    Returns:
        the table, which prints itself in a terminal and a notebook.

    Raises:
        AdvvidError: for data, a model or an option that cannot be used, naming it; and where an attack breaks its rules.

    Example:
        >>> import advvid                                                       # doctest: +SKIP
        >>> table = advvid.evaluate(network, loader, suite="quick")             # doctest: +SKIP
        >>> print(table["union"].acc, table)                                    # doctest: +SKIP
    """
    with ExitStack() as stack:
        # Attacks need gradients, whatever the caller had switched off.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if isinstance(model, PurifiedModel):  # such as load_run gives of a network that was trained behind purifiers
            purifiers = [*purifiers, *(p for p in model.purifiers if isinstance(p, Purifier))]
            model = model.model
        network = Network(model)
        stack.enter_context(left_as_found(model))
        split, own = _split(data, "test", layout)
        lessons = (
            None
            if learning is None and own is None
            else _split(data if learning is None else learning, "val", layout)[0]
        )
        frames_first = isinstance(split, GivenClips) and split.layout == "TCHW"
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        asked = task or (own.task if own is not None else Classification())
        space = own.space if own is not None else Space()
        cfg = composed([f"suite={suite}", f"seed={seed}", *_named_purifiers(purifiers)])
        columns = _columns(cfg, attacks, space)
        folder = Path(run_dir) if run_dir is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(at_work(folder))
        network.frames_first = frames_first
        system: nn.Module = network.to(place).eval()
        first = next(iter(eval_batches(split, 1))).to(place)
        with torch.no_grad():
            outputs = system(first.inputs)
        if isinstance(asked, Classification) and (outputs.dim() != 2 or len(outputs) != 1):
            raise AdvvidError(
                f"the model puts out the shape {list(outputs.shape)} for a batch of one clip: wrap it in a module that returns "
                "logits [B, K], a number for each class"
            )
        named = safe_instantiate(cfg.get("purifier")) or {}
        front = [named[purifier] if isinstance(purifier, str) else purifier for purifier in purifiers]
        if front:
            system = PurifiedModel(front, system, seed, first.inputs.shape[2]).to(place)
            columns = behind_purifiers(columns, system, cfg.evaluation.eot_samples, True)
        count = outputs.shape[-1] if outputs.dim() == 2 else 0
        names = list(classes or (own.classes if own is not None else map(str, range(count))))
        check_split(split, "test", names, asked)
        config = _config(model, cfg, suite, attacks)
        scoring = Scoring(
            task=asked,
            columns=columns,
            split=split,
            learning=lambda: _required(lessons),
            classes=names,
            seed=seed,
            device=place,
            run_dir=folder,
            batch_size=batch_size,
            postprocess=[Postprocessing(name) for name in postprocess],  # type: ignore[arg-type]
            types={} if attacks is not None else suite_types(cfg.suite, [column.name for column in columns]),
            config=config,
            identity=Identity.of(config),
        )
        table = scoring.table(system)
        assert table is not None  # there is one process
        if run_dir is not None:
            table.save(folder)
    return table


def _split(data: Any, name: str, layout: Layout | None) -> tuple[Clips, Dataset | None]:
    """Return a split of the data, and the data set of advvid that it belongs to, if any."""
    if hasattr(data, "split") and hasattr(data, "prepare") and not isinstance(data, torch.Tensor):
        dataset = require_dataset(data)
        dataset.prepare()
        return dataset.split(name), dataset
    return given_clips(data, layout), None


def _required(lessons: Clips | None) -> Clips:
    if lessons is None:
        raise AdvvidError(
            "an attack of this suite learns on clips of its own: give learning=<data>, other clips than data"
        )
    return lessons


def _named_purifiers(purifiers: Sequence[Purifier | str]) -> list[str]:
    odd = next((p for p in purifiers if not isinstance(p, Purifier | str)), None)
    if odd is not None:
        raise AdvvidError(f"purifiers holds a {type(odd).__name__}: give purifiers of advvid.purifiers, or their names")
    names = [p for p in purifiers if isinstance(p, str)]
    return [f"purifier=[{','.join(names)}]"] if names else []


def _columns(cfg: DictConfig, attacks: Mapping[str, Attack] | None, space: Space) -> list[Column]:
    """Return the columns of the table: of the suite, or those given."""
    if attacks is None:
        found = suite_columns(cfg.suite, "pgd", safe_instantiate(cfg.attack))
    else:
        odd = next((name for name, attack in attacks.items() if not isinstance(attack, Attack)), None)
        if odd is not None or not attacks:
            told = "is empty" if odd is None else f"holds {type(attacks[odd]).__name__} under {odd}"
            raise AdvvidError(
                f"attacks {told}: give attacks by name, as in {{'pgd_8': advvid.attacks.PGD(eps='8/255')}}"
            )
        found = [Column(name, attack, attack.access) for name, attack in attacks.items()]
    return [Column(column.name, in_space(column.attack, space), column.access) for column in found]


def _config(model: nn.Module, cfg: DictConfig, suite: str, attacks: Mapping[str, Attack] | None) -> dict[str, Any]:
    """Return what the table says of how it was asked for."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    return {
        "name": type(model).__name__,
        "choices": {"model": kind, **({} if attacks is not None else {"suite": suite})},
        "seed": cfg.seed,
        "suite": {name: repr(attack) for name, attack in attacks.items()}
        if attacks is not None
        else OmegaConf.to_container(cfg.suite, resolve=True),
    }
