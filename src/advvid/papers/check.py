"""A dry run: every table at full scale, as far as it can be tried without its data set and a GPU.

Each training and evaluation is composed; the classes come from the official lists of UCF101 and HMDB51; then each
network of the papers is built at its clip shape, trained for two steps and scored on one batch of a few real clips.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advvid.data.lists import read_hmdb51, read_ucf101
from advvid.errors import AdvvidError
from advvid.papers.keys import composed
from advvid.papers.plan import RUN, PaperPlan, Work, plans

# What makes a training two steps long, and an evaluation one batch under one attack.
CLASSES = {"ucf101": 101, "hmdb51": 51}
FEW = 8  # videos that are read, the first of as many classes
SHORT = (
    "schedule.epochs=1", "schedule.batch_size=2", "dataset.limit_train=4", "dataset.limit_val=2", "dataset.limit_test=2",
    "evaluation.batch_size=2", "suite=quick", "suite.include_attack=false", "~suite.masked_pgd_10", "~suite.frame_border_10",
    "evaluation.pictures=0", "tracker=none", "runtime=cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Copies:
    """Where copies of the data sets are.

    Args:
        videos: the folder of UCF101's classes; a few videos are enough.
        ucf101: the folder of its official lists.
        hmdb51: that of HMDB51's; None: not checked.
    """

    videos: Path
    ucf101: Path
    hmdb51: Path | None = None

    @classmethod
    def below(cls, folder: Path) -> Copies:
        """Return what lies in ``ucf101``, ``ucf101_splits`` and ``hmdb51_splits`` of a folder."""
        return cls(folder / "ucf101", folder / "ucf101_splits", folder / "hmdb51_splits")


def class_counts(copies: Copies) -> dict[str, int]:
    """Return how many classes the official lists name, by data set.

    Raises:
        AdvvidError: if the lists are not there.
    """
    counts = {"ucf101": len(read_ucf101(copies.ucf101, 1).classes)}
    return counts | ({"hmdb51": len(read_hmdb51(copies.hmdb51, 1).classes)} if copies.hmdb51 else {})


def networks(papers: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return the words of one training for each network and clip shape that is trained on UCF101 at full scale."""
    found: dict[str, list[str]] = {}
    for plan in plans().values():
        for run in plan.runs.values():
            words = list(run.words["full"])
            if (papers and plan.name not in papers) or run.data != ("ucf101",) or RUN.search(" ".join(words)):
                continue
            cfg = composed(words)
            name = str(cfg.model.get("net", cfg.model).get("_target_")).rsplit(".", 1)[-1]
            net = cfg.model.net if "net" in cfg.model else {}
            kind = "-".join(str(net[key]) for key in ("family", "depth", "cell") if key in net)
            shape = f"{cfg.dataset.frames} x {cfg.dataset.size} x {cfg.dataset.size}"
            found.setdefault(" ".join(part for part in (name, kind, shape) if part), words)
    return found


def try_network(words: list[str], copies: Copies, folder: Path) -> str:
    """Train two steps and score one batch on a few real clips; return what went wrong, or ""."""
    first = [next(iter(sorted(path.glob("*.avi"))), None) for path in sorted(copies.videos.glob("*")) if path.is_dir()]
    videos = [path.relative_to(copies.videos).as_posix() for path in first[:FEW] if path is not None]
    lists = folder / "lists"
    lists.mkdir(parents=True, exist_ok=True)
    classes = (copies.ucf101 / "classInd.txt").read_text()
    (lists / "classInd.txt").write_text(classes)
    numbers = {name: number for number, name in (line.split() for line in classes.splitlines() if line.strip())}
    lines = [f"{video} {numbers[video.split('/')[0]]}" for video in videos if video.split("/")[0] in numbers]
    for split in ("trainlist01", "vallist01", "testlist01"):
        (lists / f"{split}.txt").write_text("\n".join(lines) + "\n")
    where = [f"dataset.root={copies.videos}", f"dataset.splits={lists}", f"hydra.run.dir={folder / 'run'}"]
    command = [sys.executable, "-m", "advvid.train", *words, *where, *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "" if done.returncode == 0 else said[-1]


def dry_run(copies: Copies, papers: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a line for each thing tried of some papers (of all); one that failed starts with "failed"."""
    for name, count in class_counts(copies).items():
        yield f"{'ok' if count == CLASSES[name] else 'failed'}: {name}: {count} classes"
    problems = list(compose_all("full", papers))
    yield from (f"failed: {problem}" for problem in problems)
    yield f"{len(problems)} of the trainings and evaluations at full scale cannot be composed"
    for name, words in networks(papers).items():
        with tempfile.TemporaryDirectory() as folder:
            problem = try_network(words, copies, Path(folder))
        yield f"failed: {name}: {problem}" if problem else f"ok: {name}: two training steps and one batch under attack"


def compose_all(scale: str, papers: tuple[str, ...] = ()) -> Iterator[str]:
    """Compose every training and evaluation of a scale and yield a sentence for each that cannot be.

    Example:
        >>> list(compose_all("full", ("aart",)))           # doctest: +SKIP
        []
    """
    for plan in plans().values():
        if papers and plan.name not in papers:
            continue
        for work, words in _every(plan, scale):
            try:
                composed([RUN.sub("outputs/x", word) for word in words])
            except AdvvidError as error:
                yield f"{plan.name}, {work.name}: {error}"


def _every(plan: PaperPlan, scale: str) -> Iterator[tuple[Work, list[str]]]:
    """Yield each training, and each evaluation with the words of one training that it looks at."""
    first: dict[str, str] = {}
    for target in plan.targets.values():
        for run, score in target.wanted(scale):
            first.setdefault(score, run)
    for work in plan.runs.values():
        yield work, list(work.words[scale])
    for score, run in first.items():
        yield plan.scores[score], plan.words(run, score, scale)
