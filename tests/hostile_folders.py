"""``python -m tests.hostile_folders``: a stranger's run folders, met by the real command line.

A small run is trained once. Each folder is a copy of it in which one thing was made hostile: what the checkpoint says of its
configuration, the checkpoint itself, the table, the files beside them. ``eval``, ``gather`` and ``report`` then meet it, each in a
process of its own. Counted are tracebacks, refusals that take longer than five seconds, files that appear outside the folder that
the command was given to write to, and whether anything of the stranger's was executed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tests.drills.process import carry_out

# Imported before processes are forked, so that what a command costs is its own.
import advvid.experiment.run
import advvid.report.__main__
import advvid.runs.gather
import advvid.visuals.pictures  # noqa: F401
from advvid.cli.main import main

SECRET = "hidden-from-strangers"
LONGEST = 5.0
SMALL = (
    "dataset.limit_train=10",
    "dataset.limit_val=10",
    "dataset.limit_test=2",
    "schedule.epochs=1",
    "suite=quick",
    "attack.steps=1",
    "suite.masked_pgd_10.steps=1",
    "suite.frame_border_10.steps=1",
    "evaluation.pictures=0",
    "tracker=none",
    "runtime=cpu",
    "runtime.threads=1",
)
# What is in the checkpoint alone.
CHECKPOINT = (
    "choices.",
    "seed",
    "attack",
    "dataset",
    "name",
    "defense",
    "model",
    "suite",
    "a list",
    "a mapping",
    "a text",
)
Change = Callable[[Path], None]


def changes(canary: Path) -> Iterator[tuple[str, Change]]:
    """Yield every hostile change of a run folder, with its name.

    Args:
        canary: a file that code of the stranger would write.
    """
    evil = (
        "../../evil",
        str(canary.parent / "evil"),
        "pgd,fgsm",
        "pgd hydra.run.dir=evil",
        "${oc.env:SECRET}",
        "a\nb",
        "[pgd]",
        "-m",
    )
    for group in ("suite", "attack", "dataset", "defense", "hydra/launcher", "suite@hydra.callbacks"):
        for value in evil:
            yield f"choices.{group} = {value!r}", in_config(["choices", group], value)
    for place in (["seed"], ["attack", "eps"], ["dataset", "root"], ["dataset", "seed"], ["name"]):
        for value in ("${oc.env:SECRET}", "${oc.env:SECRET}/data", "${hydra:runtime.cwd}", "${..x}"):
            yield f"{'.'.join(place)} = {value!r}", in_config(place, value)
    calls = {
        "os.system": {"command": f"touch {canary}"},
        "builtins.eval": {"source": f"open({str(canary)!r}, 'w')"},
        "subprocess.Popen": {"args": ["touch", str(canary)]},
        "torch.load": {"f": str(canary)},
        "advvid.core.files.write_text": {"path": str(canary), "text": "x"},
        "pathlib.Path.touch": {"self": str(canary)},
        "torch.hub.load": {"repo_or_dir": "a/b", "model": "c"},
        "my_lab.nets.Net": {},
        "advvid.experiment.run.run": {},
    }
    for part in (["dataset"], ["attack"], ["defense"], ["model", "net"], ["suite", "x"]):
        for target, given in calls.items():
            yield f"{'.'.join(part)} makes {target}", in_config(part, {"_target_": target, **given})
    yield "dataset.root elsewhere", in_config(["dataset", "root"], str(canary.parent / "evil"))
    yield "a list of 2^40 items in the configuration", in_config(["seed"], doubled(40))
    yield (
        "a mapping of 2^40 items in the configuration",
        in_config(["dataset", "x"], doubled(40, lambda x: {"a": x, "b": x})),
    )
    yield "a configuration 3,000 levels deep", in_config(["dataset", "x"], nested(300))
    yield "a text of 50 MB in the configuration", in_config(["name"], "x" * 50_000_000)
    yield (
        "a checkpoint that runs code",
        lambda run: (run / "checkpoints" / "last.pt").write_bytes(pickle.dumps(Touch(canary))),
    )
    yield "a checkpoint that is cut short", lambda run: os.truncate(run / "checkpoints" / "last.pt", 1000)
    yield "a checkpoint that is a folder", as_folder("checkpoints/last.pt")
    yield "a checkpoint that never ends", as_link("checkpoints/last.pt", "/dev/zero")
    yield "a checkpoint that is a pipe", as_pipe("checkpoints/last.pt")
    for name in (
        "robustness.json",
        "samples.jsonl",
        "metrics.jsonl",
        ".hydra/overrides.yaml",
        "train.log",
        "pictures/pgd.png",
    ):
        yield f"{name} is a pipe", as_pipe(name)
        yield f"{name} never ends", as_link(name, "/dev/zero")
        yield f"{name} is a folder", as_folder(name)
        yield f"{name} is a link to itself", as_link(name, name)
    yield "an alias bomb in .hydra/overrides.yaml", as_text(".hydra/overrides.yaml", bomb())
    yield "a table 100,000 levels deep", as_text("robustness.json", "[" * 100_000)
    yield "a folder that links to itself", lambda run: (run / "loop").symlink_to(run)
    for place, value in (
        (["clean", "acc"], "0.5"),
        (["clean", "acc"], 2),
        (["n"], -1),
        (["attacks"], []),
        (["attacks", "pgd", "ci95"], [1]),
        (["checks"], [3]),
        (["config", "choices"], 7),
        (["versions"], "x"),
        (["identity"], [1]),
        (["seed"], {"a": 1}),
        (["attacks", "<script>alert(1)</script>"], {"acc": 0.5, "ci95": [0, 1]}),
        (["commit"], {"a": 1}),
        (["missing"], {"a": 1}),
    ):
        yield f"the table says {'.'.join(place)} = {value!r}", in_table(place, value)


class Touch:
    """Writes the canary where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def put(holder: Any, place: list[str], value: Any) -> None:
    """Put a value at a place in nested mappings."""
    *path, last = place
    for name in path:
        holder = holder.setdefault(name, {})
    holder[last] = value


def in_config(place: list[str], value: Any) -> Change:
    """Return the change of one value of the configuration that a checkpoint holds."""

    def change(run: Path) -> None:
        path = run / "checkpoints" / "last.pt"
        state = torch.load(path, weights_only=True)
        put(state["config"], place, value)
        torch.save(state, path)

    return change


def in_table(place: list[str], value: Any) -> Change:
    """Return the change of one value of ``robustness.json``."""

    def change(run: Path) -> None:
        table = json.loads((run / "robustness.json").read_text())
        put(table, place, value)
        (run / "robustness.json").write_text(json.dumps(table))

    return change


def doubled(times: int, pair: Callable[[Any], Any] = lambda x: [x, x]) -> Any:
    """Return a value that shares its halves, so that it takes little memory until somebody walks it."""
    value: Any = 1
    for _ in range(times):
        value = pair(value)
    return value


def nested(levels: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def bomb() -> str:
    """Return a YAML whose aliases unfold to a billion items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines)


def cleared(run: Path, name: str) -> Path:
    """Return the place of a file after removing what lies there."""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def as_pipe(name: str) -> Change:
    """Return the change of a file into a pipe that nobody writes to."""
    return lambda run: os.mkfifo(cleared(run, name))


def as_link(name: str, target: str) -> Change:
    """Return the change of a file into a link."""
    return lambda run: cleared(run, name).symlink_to(target if target.startswith("/") else run / target)


def as_folder(name: str) -> Change:
    """Return the change of a file into a folder."""
    return lambda run: cleared(run, name).mkdir()


def as_text(name: str, text: str) -> Change:
    """Return the change of a file's content."""
    return lambda run: cleared(run, name).write_text(text) and None


def everything(folder: Path) -> set[str]:
    """Return the names of all files below a folder."""
    return {str(path) for path in folder.rglob("*")}


def meet(trained: Path, place: Path, name: str, change: Change, canary: Path) -> Iterator[tuple[str, str, str]]:
    """Yield for each command that meets a hostile folder: the command, what was wrong ("" for nothing), and its words."""
    stranger, out, work = place / "stranger", place / "out", place / "work"
    shutil.copytree(trained, stranger, symlinks=True)
    for folder in (out, work):
        folder.mkdir()
    change(stranger)
    # Matplotlib keeps a list of fonts, which is nobody's file of a run.
    environment = {
        "SECRET": SECRET,
        "HOME": str(work),
        "TMPDIR": str(work),
        "MPLCONFIGDIR": str(trained.parent / "fonts"),
    }
    commands = {
        "eval": ["eval", f"checkpoint={stranger}", f"hydra.run.dir={out}/eval", *SMALL[2:3], *SMALL[8:]],
        "gather": ["gather", str(stranger), "--out", f"{out}/gather"],
        "report": ["report", str(stranger), "--out", f"{out}/report.html"],
    }
    if name.startswith(CHECKPOINT):  # gather and report read the table alone
        commands = {"eval": commands["eval"]}
    for command, words in commands.items():
        before = everything(work) | everything(stranger)
        ended = carry_out(main, words, environment, place / "log", None)
        made = {path for path in (everything(work) | everything(stranger)) - before if "/.lock" not in path}
        refused = ended.status not in (0, None)
        wrong = [
            "hung" if ended.status is None else "",
            "traceback" if "Traceback (most recent call last)" in ended.said else "",
            "slow" if refused and ended.seconds > LONGEST else "",
            "code was run" if canary.exists() or (canary.parent / "evil").exists() else "",
            f"made {sorted(made)[:3]}" if made else "",
            "told the secret" if SECRET in ended.said or any(SECRET in p for p in everything(place)) else "",
        ]
        canary.unlink(missing_ok=True)
        yield (
            command,
            "; ".join(filter(None, wrong)),
            ended.said.strip().splitlines()[-1][:200] if ended.said.strip() else "",
        )


def measure(only: str | None = None, count: int | None = None) -> int:
    """Meet every hostile folder, print what was wrong and the counts; return the number of faults."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        trained, canary = base / "trained", base / "canary" / "ran"
        canary.parent.mkdir()
        carry_out(main, ["train", *SMALL, f"hydra.run.dir={trained}"], {}, base / "log")
        assert (trained / "robustness.json").is_file(), (base / "log").read_text()[-2000:]
        for number, (name, change) in enumerate(copy.copy(list(changes(canary)))):
            if (only and only not in name) or (count is not None and number >= count):
                continue
            place = base / f"folder{number}"
            place.mkdir()
            counts["folders"] += 1
            for command, wrong, said in meet(trained, place, name, change, canary):
                counts["commands"] += 1
                counts[f"{command} refused" if said.startswith("error") else f"{command} went on"] += 1
                if wrong:
                    counts["faults"] += 1
                    sys.stdout.write(f"{name}: {command}: {wrong}: {said}\n")
                    sys.stdout.flush()
            shutil.rmtree(place, ignore_errors=True)
    sys.stdout.write(", ".join(f"{count} {what}" for what, count in counts.items()) + f", {counts['faults']} faults\n")
    return counts["faults"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="folders whose name holds this text")
    parser.add_argument("--count", type=int, help="the first so many")
    chosen = parser.parse_args()
    sys.exit(bool(measure(chosen.only, chosen.count)))
