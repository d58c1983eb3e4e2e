"""``mode=attack whole=true``: all of a video is attacked, in windows that overlap, and stitched back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite
from advvid.data.decoders import FrameVideo
from advvid.data.encode import write_video
from advvid.data.file_view import FileView
from advvid.evaluation.columns import Column, craft
from advvid.tasks.base import Task
from advvid.threats.balls import LinfBall
from advvid.visuals.videos import Frames, enlarged, frames_of, zoom_for

# One frame in so many of a window lies in the next window too.
OVERLAP = 4
LEVELS = 255


def check_whole(attack: Attack) -> float:
    """Return the budget of an attack on whole videos, in levels of a pixel.

    Raises:
        AdvvidError: where changes of windows, faded into each other, would not keep the budget over the whole.
    """
    threat = attack.threat
    if type(threat) is not LinfBall:
        raise AdvvidError(
            f"whole=true fades the changes of windows into each other, which only an l-inf budget outlives, but the attack's is "
            f"{threat.budget}: choose attack=pgd or another l-inf attack, or leave whole=false for the clip in the middle"
        )
    if threat.eps * LEVELS < 1 - 1e-6:
        raise AdvvidError(f"a film holds whole levels of 1/255, of which {threat.budget} is none: raise attack.eps")
    return threat.eps * LEVELS


@dataclass(frozen=True)
class WholeVideo:
    """Attacks one video from its first frame to its last; only a few windows are in memory at a time.

    Args:
        model: to be attacked, in evaluation mode; it answers to a video with the mean of its logits over the windows.
        column: of the attack.
        task: of the model.
        view: how a file becomes clips.
        path: the video.
        name: its id, from which the random numbers of its windows are derived.
        seed: of the run.
        batch: windows that are attacked together.
        device: where to compute.
    """

    model: nn.Module
    column: Column
    task: Task
    view: FileView
    path: Path
    name: str
    seed: int
    batch: int
    device: torch.device

    @property
    def hop(self) -> int:
        """Frames from the beginning of a window to that of the next."""
        return self.view.frames - self.view.frames // OVERLAP

    def attacked(self, place: Path, root: Path, target: int, classes: Sequence[str]) -> dict[str, Any]:
        """Attack the video, unless the model takes it for another class already; return its line of ``attack.json``.

        Args:
            place: of the films, without an ending.
            root: what their names are relative to.
            target: the true class; -1 for what the model takes the clean video for.
            classes: names of the classes.
        """
        clean, windows = self.clean()
        label = clean if target < 0 else target
        film, viewable = (place.with_name(f"{place.name}.{ending}") for ending in ("mkv", "mp4"))
        found = self.write(film, viewable, label if clean == label else None)
        # Nothing but the film is the whole adversarial video: there is no other than what its 8 bits hold.
        found |= {
            "adversarial": found["rounded"],
            "distance": found["rounded_distance"],
            "label": label,
            "clean": clean,
        }
        fooled = clean == label != found["rounded"]
        return {
            "id": self.name,
            "file": str(self.path),
            **found,
            **{f"{key}_name": classes[found[key]] for key in ("label", "clean", "adversarial", "rounded")},
            "attacked": clean == label,
            "fooled": fooled,
            "fooled_rounded": fooled,
            "budget": self.column.attack.threat.budget,
            "lossless": str(film.relative_to(root)),
            "viewable": str(viewable.relative_to(root)),
            "frames": self.view.length(self.path),
            "hop": self.hop,
            "windows": {"clean": windows, "adversarial": found["windows"]},
        }

    def clean(self) -> tuple[int, list[int]]:
        """Return the class that the model takes the video for, and of each window."""
        return self._answers(self.view.windows(self.path, self.hop))

    def write(self, film: Path, viewable: Path, label: int | None) -> dict[str, Any]:
        """Write both films, the first without loss, and return what was found out on it.

        Args:
            film: the lossless one, at the size of the clips.
            viewable: enlarged, for a person.
            label: the true class; None leaves the video as it is.

        Raises:
            AdvvidError: if the film, read again, leaves the budget anywhere.
        """
        rate, effort = self.view.rate(self.path), {"steps": 0, "gradient_calls": 0}
        write_video(film, self._frames(label, effort), rate, codec="ffv1")
        answer, windows = self._answers(self._of_film(film))
        write_video(viewable, _enlarged(film), Fraction(rate), codec="libx264")
        return {"rounded": answer, "windows": windows, "rounded_distance": self._distance(film), **effort}

    def _frames(self, label: int | None, effort: dict[str, int]) -> Iterator[Frames]:
        """Yield the frames of the film: the clean ones, changed by no more whole levels than the budget has."""
        most = int(check_whole(self.column.attack) + 1e-6)
        for clean, change in stitched(self._attacked(label, effort), self.view.frames - self.hop):
            levels = change.mul(LEVELS).round().clamp(-most, most).to(torch.int16)
            yield from frames_of((clean.to(torch.int16) + levels).clamp(0, LEVELS).to(torch.uint8))

    def _attacked(self, label: int | None, effort: dict[str, int]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the first frame of each window, its clean frames and their change."""
        windows = self.view.windows(self.path, self.hop)
        while some := list(islice(windows, self.batch)):
            clips = torch.stack([clip for _, clip in some]).to(self.device).float().div_(LEVELS)
            change = torch.zeros_like(clips)
            if label is not None:
                ids = [f"{self.name}@{start}" for start, _ in some]
                labels = torch.full((len(some),), label, device=self.device)
                found, _ = craft(self.column, self.model, clips, labels, ids, self.seed, self.task)
                change = found.x_adv - clips
                effort["steps"] += int(found.steps.sum())
                effort["gradient_calls"] += int(found.gradient_calls.sum())
            yield from ((start, clip, own) for (start, clip), own in zip(some, change.cpu(), strict=True))

    def _answers(self, windows: Iterable[tuple[int, Tensor]]) -> tuple[int, list[int]]:
        """Return the answer to the mean of the logits, and that to each window."""
        walk, outs = iter(windows), []
        while some := list(islice(walk, self.batch)):
            clips = torch.stack([clip for _, clip in some]).to(self.device).float().div_(LEVELS)
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                outs.append(self.model(clips).float().cpu())
            require_finite(outs[-1], [f"{self.name}@{start}" for start, _ in some], "the windows of the video")
        out = torch.cat(outs)
        return int(self.task.predict(out.mean(dim=0, keepdim=True))[0]), self.task.predict(out).tolist()

    def _of_film(self, film: Path) -> Iterator[tuple[int, Tensor]]:
        video = FrameVideo(film, "pyav")
        for start, _ in self.view.windows(self.path, self.hop):
            yield start, video.fetch(range(start, start + self.view.frames))

    def _distance(self, film: Path) -> float:
        """Return the largest change between the clean video and the film, read again frame by frame."""
        length, threat, most = self.view.length(self.path), self.column.attack.threat, 0.0
        if (held := FrameVideo(film, "pyav").frames) != length:
            raise AdvvidError(f"{film} holds {held} of {length} frames: check the disk, and take it away")
        walk = zip(self.view.windows(self.path, self.hop), self._of_film(film), strict=True)
        for (start, before), (_, after) in walk:
            clean, kept = (clip[None].float().div(LEVELS) for clip in (before, after))
            most = max(most, float(threat.distance(kept, clean)))
            if not bool(threat.contains(kept, clean)):
                raise AdvvidError(
                    f"{film} leaves {threat.budget} from frame {start} on (distance {most:.6g}): film "
                    "discarded: this is a bug in the attack, please report it"
                )
        return most


def stitched(windows: Iterable[tuple[int, Tensor, Tensor]], overlap: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the frames of windows in order, each once, with a mean of the changes of the windows that hold it.

    A window counts less towards its ends, so that changes fade into each other. A mean of changes is in every ball that
    they are in.

    Args:
        windows: the number of a window's first frame, its clean frames and their change, both ``[3, T, H, W]``.
        overlap: frames over which a window fades.

    Yields:
        Clean frames ``[3, n, H, W]`` and their change.
    """
    first, clean, total, weight = 0, torch.empty(0), torch.empty(0), torch.empty(0)
    for start, frames, change in windows:
        rise = torch.arange(1.0, frames.shape[1] + 1).clamp(max=overlap + 1.0)
        own = torch.minimum(rise, rise.flip(0)).view(1, -1, 1, 1)
        if clean.numel():
            done = start - first
            yield clean[:, :done], total[:, :done] / weight[:, :done]
            old = clean.shape[1] - done
            clean = torch.cat([clean[:, done:], frames[:, old:]], dim=1)
            total = torch.cat([total[:, done:], torch.zeros_like(change[:, old:])], dim=1) + own * change
            weight = torch.cat([weight[:, done:], torch.zeros_like(own[:, old:])], dim=1) + own
        else:
            clean, total, weight = frames, own * change, own
        first = start
    yield clean, total / weight


def _enlarged(film: Path) -> Iterator[Frames]:
    video = FrameVideo(film, "pyav")
    for number in range(video.frames):
        frame = frames_of(video.fetch([number]))
        yield from enlarged(frame, zoom_for(frame.shape[1], frame.shape[2]))
