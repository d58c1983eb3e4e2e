"""One attack on one model's clips: carried out once, measured again by us, and kept in a file."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import clip_generators, derive_seed
from peers import Peer, run_peer, versions

# How far an adversarial clip is from the clean one, [B], from the change [B, 3, T, H, W].
MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "l-inf": lambda delta: delta.abs().flatten(1).amax(dim=1),
    "l2": lambda delta: delta.flatten(1).norm(dim=1),
    "frames": lambda delta: (delta != 0).any(dim=1).flatten(2).any(dim=2).sum(dim=1).float(),
    "pixels of a frame": lambda delta: (delta != 0).any(dim=1).flatten(2).sum(dim=2).amax(dim=1).float(),
    "l2,1": lambda delta: delta.square().mean(dim=(1, 3, 4)).sqrt().sum(dim=1),
    "l1": lambda delta: delta.abs().flatten(1).sum(dim=1),
    "values": lambda delta: (delta != 0).flatten(1).sum(dim=1).float(),
    "mean change": lambda delta: delta.abs().flatten(1).mean(dim=1),
}
# Room for the rounding of x + delta - x, a thousandth of one grey level, and of norms.
ROOM, RELATIVE_ROOM = 4e-6, 1e-4


@dataclass(frozen=True)
class Scale:
    """The budgets and the work of a model's rows.

    Args:
        eps: l-inf budget, where the attacks leave the model some right answers.
        eps_l2: l2 budget, likewise.
        black: by which factor Square's budgets are larger, since it needs more.
        steps: of iterated attacks.
        queries: of Square.
        targets: of the targeted forms, one less than the model has classes.
        searches: of the constant of C&W.
        side: of the frames.
        small: leave out what needs minutes on a large network.
    """

    eps: float
    eps_l2: float
    black: float = 2.0
    steps: int = 20
    queries: int = 500
    targets: int = 9
    searches: int = 5
    side: int = 32
    small: bool = False


@dataclass(frozen=True)
class Row:
    """One of our attacks and its peers.

    Args:
        name: of the row.
        ours: our attack.
        peers: the others', or another one of ours.
        settings: what is equal for all, in words.
        measure: of the distance, a key of ``MEASURES``.
        limit: largest distance that counts as fooled; None for any.
        eps: an l-inf bound on every value beside the measure; None for none.
        minimal: the attack looks for the smallest change, so that distances are compared too.
    """

    name: str
    ours: Attack
    peers: tuple[Peer | Attack, ...]
    settings: str
    measure: str = "l-inf"
    limit: float | None = None
    eps: float | None = None
    minimal: bool = False

    def distance(self, x_adv: Tensor, clips: Tensor) -> Tensor:
        """Return how far each clip went, ``[B]``."""
        return MEASURES[self.measure](x_adv - clips)

    def allowed(self, x_adv: Tensor, clips: Tensor) -> Tensor:
        """Tell which clips keep the range of pixels and, where a minimal attack leaves none, the bounds, ``bool [B]``."""
        kept = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)
        if self.eps is not None:
            kept &= (x_adv - clips).abs().flatten(1).amax(dim=1) <= self.eps + ROOM
        if self.limit is not None and not self.minimal:
            kept &= self.within(self.distance(x_adv, clips))
        return kept

    def within(self, distance: Tensor) -> Tensor:
        """Tell which distances are within the limit, ``bool [B]``."""
        return distance <= (math.inf if self.limit is None else self.limit * (1 + RELATIVE_ROOM) + ROOM)


@dataclass(frozen=True)
class Cell:
    """What one attack did to a model, a value per clip in the order of the clips.

    Args:
        title: of the attack.
        right: 1 where the model is still right within the limit; clips wrong on clean count as wrong.
        fooled: 1 where a clip that was right is fooled at any distance.
        distance: in the row's measure, None where a clip is not fooled.
        layout: in which the attack got the clips.
        error: met on clips ``[B, 3, T, H, W]``.
        failed: the attack returned nothing in any layout.
        broken: number of clips outside their bounds, which do not count as fooled.
        seconds: the search took.
        asked: clips that the model was shown for one that was attacked, with a gradient or without.
    """

    title: str
    right: list[int]
    fooled: list[int]
    distance: list[float | None]
    layout: str = "clips"
    error: str = ""
    failed: bool = False
    broken: int = 0
    seconds: float = 0.0
    asked: float = 0.0


@dataclass(frozen=True)
class Subject:
    """A model with the clips that it is attacked on.

    Shape:
        clips: ``[n, 3, T, H, W]``; labels: ``[n]``; right: ``bool [n]``, on clean.
    """

    name: str
    model: nn.Module
    clips: Tensor
    labels: Tensor
    ids: Sequence[str]
    right: Tensor
    weights: str


def title_of(attack: Peer | Attack) -> str:
    """Return library and class."""
    return attack.title if isinstance(attack, Peer) else f"advvid.{type(attack).__name__}"


def cell(subject: Subject, row: Row, attack: Peer | Attack, seed: int, folder: Path) -> Cell:
    """Carry an attack out, or read what it did from the work folder.

    The file is named after everything that the result depends on: model, clips, settings, seed, the attack's code or
    the libraries' versions.
    """
    code = versions() if isinstance(attack, Peer) else sources(sys.modules[type(attack).__module__])
    bounds = (row.measure, row.limit, row.eps, row.minimal)
    key = derive_seed(subject.weights, list(subject.ids), seed, repr(attack), bounds, code)
    name = "".join(c if c.isalnum() else "_" for c in f"{row.name}-{title_of(attack)}")
    path = folder / subject.name / f"{name}-{key:016x}.json"
    if path.is_file():
        return Cell(**json.loads(path.read_text()))
    found = attack_cell(subject, row, attack, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(asdict(found)) + "\n")
    scratch.replace(path)
    return found


def attack_cell(subject: Subject, row: Row, attack: Peer | Attack, seed: int) -> Cell:
    """Attack the clips that are right on clean, predict again, and measure again."""
    todo = subject.right.nonzero().squeeze(1)
    clips, labels = subject.clips[todo], subject.labels[todo]
    began, shown = time.perf_counter(), [0]
    watch = subject.model.register_forward_pre_hook(lambda _, given: shown.append(len(given[0])))
    layout, error = "clips", ""
    if isinstance(attack, Peer):
        crafted = run_peer(attack, subject.model, clips, labels, seed)
        x_adv, layout, error = crafted.x_adv, crafted.layout, crafted.error
    else:
        generators = clip_generators(seed, row.name, [subject.ids[i] for i in todo.tolist()])
        x_adv = attack.run(subject.model, clips, labels, generators).x_adv
    seconds, asked = time.perf_counter() - began, sum(shown) / max(1, len(todo))
    watch.remove()
    right = subject.right.int().tolist()
    if x_adv is None:
        nothing: list[float | None] = [None] * len(right)
        return Cell(title_of(attack), right, [0] * len(right), nothing, "", error, True, 0, seconds)
    with torch.no_grad():
        wrong = torch.cat([subject.model(part).argmax(dim=1) for part in x_adv.split(16)]) != labels
    allowed, far = row.allowed(x_adv, clips), row.distance(x_adv, clips)
    hit = wrong & allowed
    fooled, distance = [0] * len(right), [None] * len(right)
    for place, index in enumerate(todo.tolist()):
        if bool(hit[place]):
            fooled[index], distance[index] = 1, float(far[place])
            right[index] = 0 if bool(row.within(far[place])) else 1
    return Cell(
        title=title_of(attack),
        right=right,
        fooled=fooled,
        distance=distance,
        layout=layout,
        error=error,
        broken=int((~allowed).sum()),
        seconds=round(seconds, 3),
        asked=round(asked, 1),
    )


def sources(module: ModuleType, seen: set[str] | None = None) -> str:
    """Hash the code, without its comments, of an attack's module and of all searches and threats that it uses.

    The call around every search (``advvid.attacks.base``) is left out: it decides nothing.
    """
    found = set() if seen is None else seen
    found.add(module.__name__)
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        searches = isinstance(name, str) and name.startswith(("advvid.attacks.", "advvid.threats."))
        if searches and name != "advvid.attacks.base" and name not in found and name in sys.modules:
            sources(sys.modules[name], found)
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(found):
        tree = ast.parse(Path(str(sys.modules[name].__file__)).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()
