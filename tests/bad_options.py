"""Bad values for every option of ``conf/``, made from the declarations: ``python -m tests.bad_options`` prints the counts.

Every option of every file is given every kind of value that its declaration does not allow: another type, beyond its
range, a word that nobody knows, NaN and infinity in many spellings, lists and mappings, huge numbers, text with a newline.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from advvid.attacks.pgd import PGD
from advvid.config.catalogue import groups
from advvid.config.command_line import quoted
from advvid.config.instantiate import checked_plan, find_target
from advvid.config.options import Evaluation, Options, check_top
from advvid.core.allowed import hints_of
from advvid.core.errors import AdvvidError
from advvid.core.examples import examples
from advvid.core.libraries import declared
from advvid.core.paths import conf_dir
from advvid.evaluation.suite import suite_columns
from advvid.models.build import check_settings

GROUPS = (
    "dataset",
    "model",
    "attack",
    "defense",
    "schedule",
    "suite",
    "runtime",
    "tracker",
    "purifier",
    "detector",
    "analysis",
)
# Filled in by the data set, and so no options.
FILLED = ("num_classes", "clip_shape", "views")
DIRECTIVES = ("_target_", "_partial_", "_args_", "_convert_")


@dataclass(frozen=True)
class Option:
    """An option of a file, with its declaration (None where there is none)."""

    group: str
    file: str
    name: str
    annotation: Any

    @property
    def kind(self) -> str:
        """What it is an option of: files that target one class share it."""
        return f"{self.group}: {self.name.rpartition('.')[2]} {self.annotation}"


@cache
def composed(group: str, file: str) -> DictConfig:
    """Return the configuration with an option of a group chosen."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choice = [] if group == "" else [f"{group}=[{file}]" if group == "purifier" else f"{group}={file}"]
        return compose("train", [*choice, "name=a"])


def options() -> Iterator[Option]:
    """Yield every option of every file of every group, and those at the top."""
    for name, annotation in hints_of(Options).items():
        yield Option("", "train", name, annotation)
    for name, annotation in hints_of(Evaluation).items():
        yield Option("", "train", f"evaluation.{name}", annotation)
    for group in GROUPS:
        for file in groups(conf_dir())[group]:
            node = composed(group, file)[group]
            for name, annotation in _inside(OmegaConf.to_container(node, resolve=False), group):
                yield Option(group, file, name, annotation)


def _inside(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        return
    known = declared(find_target(node["_target_"], where)) if "_target_" in node else {}
    for key, value in node.items():
        if key in DIRECTIVES or key in FILLED:
            continue
        if "_target_" in node:
            yield f"{where}.{key}", known.get(key)
        yield from _inside(value, f"{where}.{key}")


def refusal(option: Option, value: Any) -> AdvvidError | None:
    """Return what is said of a value, before anything is made; None where it is let through."""
    cfg = composed(option.group, option.file)
    OmegaConf.set_struct(cfg, False)
    *path, last = option.name.split(".")
    node: Any = cfg
    for key in path:
        node = node[key]
    before = OmegaConf.to_container(node, resolve=False)[last]
    node[last] = value
    try:
        if option.group == "":
            check_top(cfg)
        elif option.group == "suite":
            suite_columns(cfg.suite, "pgd", PGD())
        elif option.group == "model":
            check_settings(cfg.model, (3, 8, 32, 32), 1)
        else:
            checked_plan(cfg[option.group], FILLED)
    except AdvvidError as error:
        return error
    finally:
        node[last] = before
    return None


def bad_values(option: Option) -> list[Any]:
    """Return values that the declaration of an option does not allow."""
    return examples(option.annotation)[1]


def written(value: Any) -> str:
    """Return a value as it is written on a command line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {written(inner)}' for key, inner in value.items())}}}"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def command(option: Option, value: Any) -> list[str]:
    """Return the command line that gives an option a value."""
    choice = [f"{option.group}=[{option.file}]" if option.group == "purifier" else f"{option.group}={option.file}"]
    finished = ["mode=eval", "checkpoint=nowhere"] if option.group == "analysis" else []
    return [*(choice if option.group else []), *finished, f"{option.name}={written(value)}"]


def named(option: Option, error: AdvvidError) -> bool:
    """Tell whether a refusal is one sentence that names the option."""
    text = str(error)
    return option.name in text and "\n" not in text and len(text) < 500


def main() -> None:
    """Try all and print the counts; exit with a problem where one got through."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for option in options():
        counts["options"] += 1
        if option.annotation is None:
            counts["without a declaration"] += 1
            print("no declaration:", option.name, f"({option.group}={option.file})")
            continue
        if option.kind in seen:
            continue
        seen.add(option.kind)
        counts["different options"] += 1
        for value in bad_values(option):
            counts["bad values"] += 1
            try:
                error = refusal(option, value)
            except Exception:
                counts["tracebacks"] += 1
                print(option.name, repr(value))
                traceback.print_exc(limit=-2)
                continue
            if error is None:
                counts["let through"] += 1
                print("let through:", option.name, repr(value))
            elif not named(option, error):
                counts["not named"] += 1
                print("not named:", option.name, repr(value), "->", error)
    print(
        ", ".join(
            f"{counts[k]} {k}"
            for k in (
                "options",
                "different options",
                "bad values",
                "without a declaration",
                "let through",
                "not named",
                "tracebacks",
            )
        )
    )
    if counts["let through"] or counts["not named"] or counts["tracebacks"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
