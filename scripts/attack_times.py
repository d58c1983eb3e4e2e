"""Time every attack on clips at hand, and check again that each keeps its threat set.

    python scripts/attack_times.py --checkpoint outputs/demo/cat --clips 20
    python scripts/attack_times.py --video v_Basketball_g01_c01.avi

The first attacks clips of the embedded data against a trained model; the second one video at 16 x 112 x 112, against a
small network with random weights whose own answer the attacks are to change. Attacks that learn on a set of clips learn
on each clip by itself here. Results go to outputs/published/attack_times_<clips>.md; where a column was scored within
the time that its YAML states (``# time:``), it says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.attacks.transfer import load_surrogate
from advvid.config.catalogue import notes, option_files
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.progress import bar
from advvid.data.given import GivenFiles
from advvid.data.loader import collate
from advvid.data.motion import Motion
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.table import Block
from advvid.models.classifier import VideoClassifier
from advvid.models.r3d_tiny import R3DTiny
from advvid.tasks.classification import Classification


def attacks(names: list[str]) -> dict[str, Attack]:
    """Return every attack of conf/attack, or those named, as it composes by default."""
    found = names or list(option_files("attack"))
    return {name: safe_instantiate(composed([f"attack={name}"]).attack) for name in found}


def embedded(count: int, checkpoint: str) -> tuple[nn.Module, Tensor]:
    """Return a trained model and the first test clips of the embedded data."""
    data = Motion(limit_test=count)
    data.prepare()
    test = data.split("test")
    return load_surrogate(checkpoint, data.clip_shape), collate([test[i] for i in range(count)]).to("cpu").inputs


def video(path: str) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights and one clip of 16 frames at 112 x 112."""
    node = composed(["dataset=ucf101", "dataset.frames=16", "dataset.size=112", "dataset.test_clips=1"]).dataset
    data = GivenFiles(node, [path], None, ["any"])
    data.prepare()
    torch.manual_seed(0)
    model = VideoClassifier(R3DTiny(101), 101, mean=0.45, std=0.225).eval()
    return model, collate([data[0]]).to("cpu").inputs


def measure(name: str, attack: Attack, model: nn.Module, clips: Tensor) -> tuple[str, ...]:
    """Run one attack on clips that the model gets right by definition, and return a line of the table."""
    labels = model(clips).argmax(dim=1)
    began = time.process_time()
    result, _ = craft(
        Column(name, attack), model, clips, labels, [str(i) for i in range(len(clips))], 0, Classification()
    )
    seconds = (time.process_time() - began) / len(clips)
    fooled = (model(result.x_adv).argmax(dim=1) != labels).float().mean()
    said = notes(option_files("attack")[name]).get("time", "").partition(" ")[0]
    within = "–" if not said else "yes" if seconds <= float(said) else "no"
    return name, f"{seconds:.3g}", said or "–", within, f"{100 * fooled:.0f}", attack.threat.budget


def main() -> None:
    """Time the attacks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="run folder of a model trained on the embedded data")
    parser.add_argument("--video", help="a video file, in place of the embedded data")
    parser.add_argument("--clips", type=int, default=20, help="test clips of the embedded data")
    parser.add_argument("--attacks", nargs="*", default=[], help="names; all where none is given")
    parser.add_argument("--out", default="outputs/published", help="folder of the table")
    given = parser.parse_args()
    if (given.checkpoint is None) == (given.video is None):
        parser.error("give either --checkpoint or --video")
    with torch.no_grad():
        model, clips = video(given.video) if given.video else embedded(given.clips, given.checkpoint)
        chosen, rows = attacks(given.attacks), []
        with bar("attacks", len(chosen)) as progress:
            for name, attack in chosen.items():
                progress.describe(name)
                rows.append(measure(name, attack, model, clips))
                progress.advance(1)
    shape = "x".join(map(str, clips.shape[2:]))
    block = Block("", ("attack", "s per clip", "stated", "within", "fooled %", "budget"), tuple(rows))
    Console(width=160).print(block.rich())
    words = (
        f"# Time of every attack: {len(clips)} clip{'s' * (len(clips) > 1)} of {shape}\n\n`python {' '.join(sys.argv)}`, "
        f"seconds of computing on {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch "
        f"{torch.__version__}, Python {platform.python_version()}. Every clip was found inside its threat set again.\n\n"
    )
    target = Path(given.out) / f"attack_times_{'video' if given.video else 'embedded'}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(words + block.markdown() + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except AdvvidError as error:
        sys.exit(f"error: {error}")
