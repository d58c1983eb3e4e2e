"""Adversarial examples on disk: made once, a file each, and checked whenever they are read."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core import checkpoint, digests, files
from advvid.core.batch import Batch, clip_generators, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.identity import of_attack
from advvid.core.progress import bar
from advvid.data.content import Contents
from advvid.data.loader import Clips, collate
from advvid.distributed.parallel import Processes
from advvid.models.modes import mode
from advvid.tasks.base import Task

log = logging.getLogger(__name__)

FORMAT, MANIFEST = 2, "manifest.json"
# What examples belong to, in words for messages.
ORIGIN = {"model": "another model", "attack": "another attack", "data": "other data", "seed": "another seed"}


@dataclass(frozen=True)
class Examples:
    """Adversarial examples of a training split, made of one clip of each chosen video.

    A file holds the frames that the attack changed, as they are, and a checksum of the clean clip: nothing is rounded, and
    a set of sparse examples is small. The videos are taken in an order that depends on the seed alone, so that a set of
    3000 examples begins with the 1000 of a smaller one, and a smaller one is extended.

    Args:
        folder: where the files are.
        clips: the training split.
        attack: what makes the examples.
        seed: of the choice of videos, of their clips, and of the attack.
        origin: digests of what else the examples belong to; see ``origin_of``.

    Example:
        >>> examples.make(model, task, 1000)                     # doctest: +SKIP
        >>> clip = examples.read(examples.chosen(1000)[0])       # doctest: +SKIP
    """

    folder: Path
    clips: Clips
    attack: Attack
    seed: int
    origin: Mapping[str, str]

    def chosen(self, count: int) -> list[int]:
        """Return the numbers of the first ``count`` videos in the set's order."""
        order = torch.Generator().manual_seed(derive_seed(self.seed, "examples"))
        return torch.randperm(len(self.clips), generator=order)[:count].tolist()

    def clean(self, number: int) -> Any:
        """Return the item of a video's clip that an example is made of; bytes or floats, as the split has them."""
        return self.clips[number, derive_seed(self.seed, "example", number)]

    def make(
        self,
        model: nn.Module,
        task: Task,
        count: int,
        batch_size: int = 32,
        device: torch.device | None = None,
        processes: Processes | None = None,
    ) -> tuple[float, float]:
        """Make the first ``count`` examples, as far as they are not there; processes share the work.

        Returns:
            the gradient calls that all of them took, and the share that fools the model.

        Raises:
            AdvvidError: if the folder holds examples of something else, or examples that break their budget.
        """
        processes = processes or Processes()
        if processes.main:
            self._claim()
        processes.barrier()
        share = self.chosen(count)[processes.rank :: processes.world_size]
        found = {number: saved for number in share if (saved := self._known(number)) is not None}
        with mode(model, False), bar("adversarial examples", len(share), len(found)) as show:
            for first in range(0, len(share), batch_size):
                part = share[first : first + batch_size]
                missing = [number for number in part if number not in found]
                if not missing:
                    continue
                # All of a batch together, whatever a kill has left of it: last bits depend on a clip's neighbours.
                batch = collate([self.clean(number) for number in part])
                made = zip(part, self._attacked(model, task, part, batch, device, missing), strict=True)
                found |= {number: example for number, example in made if number in missing}
                show.advance(len(missing))
        sums = processes.sum(
            [sum(float(s[key]) for s in found.values()) for key in ("calls", "fooled")] + [float(len(found))]
        )
        return sums[0], sums[1] / max(1.0, sums[2])

    def read(self, number: int) -> Tensor:
        """Return a video's adversarial clip as floats, ``[3, T, H, W]``.

        Raises:
            AdvvidError: if the file is missing, damaged or of something else, the video has changed, or the clip lies
                outside the attack's set.
        """
        saved = self._load(number)
        if saved is None:
            raise AdvvidError(
                f"the adversarial example {self._path(number)} is missing or damaged: the same command with resume=true makes "
                "it again"
            )
        return self._checked(number, saved)

    def _attacked(
        self,
        model: nn.Module,
        task: Task,
        numbers: Sequence[int],
        raw: Batch,
        device: torch.device | None,
        missing: Sequence[int],
    ) -> list[dict[str, Any]]:
        batch = raw.to(device or torch.device("cpu"))
        generators = clip_generators(self.seed, "examples", batch.ids)
        result = self.attack.run(model, batch.inputs, batch.target, generators, task=task)
        with torch.no_grad():
            right = task.correct(model(result.x_adv), batch.target)
        saved = []
        for row, number in enumerate(numbers):
            x_adv, clean = result.x_adv[row].cpu(), raw.inputs[row]
            changed, places = _changed(x_adv, batch.inputs[row].cpu())
            example = {
                "format": FORMAT,
                "origin": self._digest(),
                "id": raw.ids[row],
                "clean": digests.of_array(clean),
                "places": places,
                "values": changed,
                "calls": int(result.gradient_calls[row]),
                "fooled": right is not None and not bool(right[row]),
            }
            self._checked(number, example)
            if number in missing:
                checkpoint.save(self._path(number), example)
            saved.append(example)
        return saved

    def _known(self, number: int) -> dict[str, Any] | None:
        """Return a file's content after the checks of ``read``; None where it has to be made."""
        saved = self._load(number)
        if saved is not None:
            self._checked(number, saved)
        elif self._path(number).exists():
            log.warning("the adversarial example %s is damaged and is made again", self._path(number))
        return saved

    def _checked(self, number: int, saved: Mapping[str, Any]) -> Tensor:
        path, (clean, _, name) = self._path(number), self.clean(number)
        if saved["origin"] != self._digest():
            raise AdvvidError(f"{path} was made for something else than the set in its folder: delete it")
        if saved["id"] != name or saved["clean"] != digests.of_array(clean):
            raise AdvvidError(
                f"{path} was made of another clip than the data set now gives for {name}: choose the data that it was made of, "
                "or another defense.folder"
            )
        x = Batch(clean[None], torch.zeros(1), [name]).to("cpu").inputs
        x_adv = x.clone()
        if saved["places"] is None:
            x_adv[0] = saved["values"]
        else:
            x_adv[0][:, saved["places"]] = saved["values"]
        if not bool(self.attack.threat.contains(x_adv, x).all()):
            raise AdvvidError(
                f"{path} breaks its budget ({self.attack.threat.budget}): delete it, and the same command with resume=true "
                "makes it again"
            )
        return x_adv[0]

    def _claim(self) -> None:
        """Say in the folder what its examples belong to, or find that it says so already."""
        path, own = self.folder / MANIFEST, self._manifest()
        if not path.is_file():
            files.write_json(path, own)
            return
        try:
            known = json.loads(path.read_text())
        except ValueError:
            known = {}
        if not isinstance(known, dict) or known.get("format") != FORMAT:
            others = ["another version"]
        else:
            others = [words for key, words in ORIGIN.items() if known.get(key) != own[key]]
        if others:
            raise AdvvidError(
                f"the adversarial examples in {self.folder} belong to {' and '.join(others)}: give what they "
                "were made with (defense.classifier names the model), another defense.folder, or delete it"
            )

    def _manifest(self) -> dict[str, Any]:
        made = {"attack": of_attack(self.attack), "settings": repr(self.attack), "seed": self.seed}
        return {"format": FORMAT, **made, **self.origin}

    def _digest(self) -> str:
        return digests.of_values(self._manifest())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.pt"

    def _load(self, number: int) -> dict[str, Any] | None:
        path = self._path(number)
        if not zipfile.is_zipfile(path):  # its directory is what is written last
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except (*checkpoint.UNREADABLE, pickle.UnpicklingError):
            return None
        return saved if isinstance(saved, dict) and saved.get("format") == FORMAT else None


def origin_of(model: nn.Module, clips: Clips) -> dict[str, str]:
    """Return digests of what examples belong to: the model with its settings, and the content of the split's videos."""
    return {"model": digests.of_module(model), "data": Contents.of(clips).digest}


def _changed(x_adv: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the frames of a clip that differ, ``[3, N, H, W]``, and their numbers; all of it, where it has no frames."""
    if x.ndim != 4:
        return x_adv.clone(), None
    places = (x_adv != x).transpose(0, 1).flatten(1).any(dim=1).nonzero().squeeze(1)
    return x_adv[:, places].clone(), places
