"""A small trained run on videos of one's own, exported; and what somebody may change in it."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from advvid.api.runs import carried_out
from advvid.core.exported import WEIGHTS
from advvid.data.encode import write_video
from advvid.evaluation.tally import summarise
from advvid.sharing import card
from advvid.sharing.claim import CLAIM, read_claim, sha256
from advvid.sharing.export import SUMS


def videos(folder: Path, seed: int) -> Path:
    """Write two classes of videos, bright and dark, of the same names whatever the seed."""
    draw = np.random.default_rng(seed)
    for split, count in (("train", 4), ("val", 1), ("test", 3)):
        for low, name in ((0, "dark"), (100, "light")):
            for number in range(count):
                frames = draw.integers(low, low + 150, (6, 24, 24, 3)).astype(np.uint8)
                write_video(folder / split / name / f"{split}_{name}_{number}.avi", frames, 25)
    return folder


def words(root: Path) -> list[str]:
    """Return the command line of a training of a moment on these videos."""
    return [
        "dataset=folder", f"dataset.root={root}", "dataset.name=lights", "dataset.frames=4", "dataset.size=16", "model.width=0.25",
        "schedule.epochs=1", "schedule.batch_size=4", "suite=own", "attack.steps=1", "attack.eps=1/255", "tracker=none",
        "runtime=cpu", "runtime.threads=1", "evaluation.pictures=0", "dataset.workers=0", "defense=aat",
    ]  # fmt: skip


def trained(folder: Path, root: Path) -> Path:
    """Train and score for a moment."""
    carried_out(words(root), folder)
    return folder


def flip_one_bit(folder: Path) -> None:
    """Change the last bit of one weight."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-4] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def edit(path: Path, *place: str, value: object) -> None:
    """Put a value into a JSON file."""
    content = json.loads(path.read_text())
    holder = content
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    path.write_text(json.dumps(content))


def settle(folder: Path) -> None:
    """Make the claim, the card and the sums fit whatever the other files hold now."""
    claim = read_claim(folder / CLAIM)
    files = {name: sha256(folder / name) for name in claim.files}
    claim = dataclasses.replace(claim, files=files, weights=files[WEIGHTS])
    (folder / CLAIM).write_text(json.dumps(claim.plain()))
    (folder / card.CARD).write_text(card.card(claim, None))
    listed = [path for path in sorted(folder.iterdir()) if path.name != SUMS]
    (folder / SUMS).write_text("".join(f"{sha256(path)}  {path.name}\n" for path in listed))


def boast(run: Path) -> None:
    """Claim in all files of a run that every attack fails, and that rounding could turn every clip."""
    lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    for line in lines:
        line["clean"] = line["label"]
        for row in line["attacks"].values():
            row["pred"] = line["label"]
    (run / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = json.loads((run / "robustness.json").read_text())
    again = summarise(lines, list(table["attacks"]), list(table["controls"]), list(table["extra"]))
    for name in ("clean", "mean", "mean_attacks", "union"):
        table[name] |= again[name] | {"near_ties": len(lines)}
    for section in ("attacks", "controls", "extra"):
        for name, score in again[section].items():
            table[section][name] |= score | {"near_ties": len(lines)}
    (run / "robustness.json").write_text(json.dumps(table))
