"""Which part of an identity each option belongs to, and which options change no number."""

from __future__ import annotations

from fnmatch import fnmatchcase

# Options that change no number, each with the reason. tests/contracts/test_identity.py runs each of them both ways and
# compares the bits, but for files, labels, whole and choices, which no two runs of conf/ can tell apart.
NEUTRAL: dict[str, str] = {
    "mode": "which part of the work is done; each part's results are kept by themselves",
    "name": "a title",
    "resume": "how a folder is treated",
    "overwrite": "how a folder is treated",
    "checkpoint": "a place; the weights count",
    "files": "places; the content of the videos counts",
    "whole": "which frames of a video are attacked; the content of its clips counts",
    "labels": "the label of each clip counts",
    "experiment": "a name for settings, which count",
    "choices*": "names for settings, which count",
    "trust*": "whose code may be used; the code that is used counts",
    "tracker*": "where a run is watched",
    "hydra*": "where a run is written, and what starts it",
    "dataset.name": "a title",
    "dataset.root": "a place; the content of the files counts",
    "dataset.splits": "a place; the clips that the lists name count",
    "dataset.workers": "how many processes read",
    "dataset.cache": "decoded frames are the same with and without it",
    "dataset.cache_gb": "a bound on disk space",
    "dataset.allow_overlap": "whether lists that share videos stop the run; the clips count",
    "dataset.on_error": "whether a broken video stops the run; the clips that are read count",
    "defense.folder": "a place; its examples say themselves what they were made of",
    "evaluation.pictures": "what is drawn of the clips",
    "runtime.profile": "what is measured beside it",
    "*schedule.checkpoint_minutes": "how often work is saved",
    "analysis.pictures": "what is drawn of the clips",
    "analysis.labels": "names in tables and figures",
}

# The part of what moves the last bits of a number and nothing else: a sum taken in another order. A result that was made
# in two ways is told, not refused.
ROUNDING = "rounding"

# The part that an option belongs to, by the first pattern that fits; what fits none belongs to the part of its group.
RULES: tuple[tuple[str, str], ...] = (
    ("dataset.limit_test", "test_clips"),
    ("dataset.frames", "view"), ("dataset.stride", "view"), ("dataset.size", "view"), ("dataset.short_side", "view"),
    ("dataset.test_clips", "view"), ("dataset.decoder", "view"), ("dataset.channels", "view"),
    ("dataset.*", "data"),
    ("model.freeze", "training"),
    ("model.*", "model"),
    ("purify_training", "training"),
    ("purifier*", "front"), ("detector*", "front"),
    ("attack.*", "attack"),
    ("defense.*", "defense"),
    ("schedule.*", "training"),
    ("runtime.devices", "processes"), ("runtime.strategy", "processes"), ("runtime.sync_batchnorm", "processes"),
    ("runtime.device", ROUNDING), ("runtime.threads", ROUNDING), ("evaluation.micro_batch", ROUNDING),
    ("runtime.device_transforms", "training"),
    ("runtime.*", "numerics"),
    ("seed", "seed"),
    ("suite.*", "columns"),
    ("evaluation.split", "test_clips"), ("evaluation.codec*", "postprocess"), ("evaluation.*", "columns"),
    ("postprocess*", "postprocess"),
    ("analysis*", "analysis"),
)  # fmt: skip

# What only training rests on, and what only scores of given weights rest on; every other part bears on both, one of
# tomorrow included.
TRAINED = ("defense", "training", "processes")
SCORED = ("test_clips", "front", "columns", "postprocess", "analysis")
# What the cells of a table know by themselves: the clips by their content, the attack, what follows it, the seed.
IN_CELLS = ("data", "view", "attack", "seed", *(part for part in SCORED if part != "front"))
# Options that name a file or a run: its content takes the place of its path.
FILES = (
    "*.checkpoint", "*.checkpoints", "*.surrogate", "*.source", "model.path", "*.classifier", "*.generator", "*.network",
    "dataset.vocabulary", "dataset.class_names",
)  # fmt: skip


def part_of(option: str) -> str | None:
    """Return the part that a dotted option belongs to; None where it is neutral."""
    if any(fits(option, pattern) for pattern in NEUTRAL):
        return None
    return next((part for pattern, part in RULES if fits(option, pattern)), option.split(".")[0])


def fits(option: str, pattern: str) -> bool:
    """Tell whether a pattern of the lists above covers an option."""
    # A group that is chosen as null stands without a dot.
    return fnmatchcase(option, pattern) or pattern == f"{option}.*"


def names_file(option: str) -> bool:
    """Tell whether the content of the file or run that an option names counts in place of its path."""
    return any(fnmatchcase(option, pattern) for pattern in FILES)
