"""What can be chosen: every option of every group, read from the configuration folder.

A file or folder whose name begins with an underscore is no option: it holds what options of its folder inherit by their
``defaults``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from advvid.config.folders import folders
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir

# How people think of a run; other groups follow in alphabetical order.
ORDER = ("model", "dataset", "attack", "defense", "schedule", "suite", "purifier", "detector", "runtime", "tracker")
# Lines of a file's head that belong to its description: what one clip costs a model, which published files it can load,
# how long an attack takes, and why suite=all goes without it.
NOT_IN_ALL = "not in suite=all"
NOTES = ("multiply-adds", "weights", "time", NOT_IN_ALL)
# Folders that hold no options of a run.
NO_GROUPS = ("hydra", "study")
# One folder of options or several, the first of which wins; None for advvid's own and those of installed plugins.
Conf = Path | Sequence[Path] | None


def places(conf: Conf = None) -> list[Path]:
    """Return folders of options as a list."""
    return folders() if conf is None else [conf] if isinstance(conf, Path) else list(conf)


def option_files(group: str, conf: Conf = None) -> dict[str, Path]:
    """Return the YAML file of every option of a group, by the name that stands on the command line.

    Example:
        >>> option_files("attack")["pgd"].name
        'pgd.yaml'
    """
    found: dict[str, Path] = {}
    for root in (place / group for place in places(conf)):
        names = {path: path.relative_to(root).with_suffix("") for path in sorted(root.rglob("*.yaml"))}
        own = {name.as_posix(): path for path, name in names.items() if not any(p.startswith("_") for p in name.parts)}
        found = {**own, **found}
    return dict(sorted(found.items(), key=lambda option: Path(option[0]).parts))


def family(path: Path) -> list[Path]:
    """Return a YAML file and the files that it inherits from; what a file says wins over those before it.

    They lie in its own folder, or in advvid's folder of the same group.
    """
    found = []
    homes = (path.parent, conf_dir() / path.parent.name)
    for entry in [*_read(path).get("defaults", []), "_self_"]:
        if entry == "_self_" and path not in found:
            found.append(path)
        elif isinstance(entry, str):
            found += next((family(home / f"{entry}.yaml") for home in homes if (home / f"{entry}.yaml").is_file()), [])
    return found


def settings(path: Path) -> DictConfig:
    """Return the settings of an option's file with those that it inherits; options of other groups are left out.

    Example:
        >>> settings(option_files("model")["c3d"]).net.dropout
        0.5
    """
    merged = OmegaConf.merge(*map(_read, family(path)))
    assert isinstance(merged, DictConfig)
    merged.pop("defaults", None)
    return merged


def _read(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    except YAMLError as error:
        raise AdvvidError(f"{path} is no YAML file ({' '.join(str(error).split())}): mend it") from None
    return loaded if isinstance(loaded, DictConfig) else OmegaConf.create()


def describe(path: Path) -> str:
    """Return the description of a YAML file: its first comment that is no directive for Hydra; "" if there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("# ").strip()
        if words and not words.startswith("@package"):
            return words
    return ""


def notes(path: Path) -> dict[str, str]:
    """Return the lines such as ``# weights: ...`` of a YAML file's head, as far as it has them; see ``NOTES``."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        key, _, text = line.lstrip("# ").partition(": ")
        if key in NOTES:
            found[key] = text.strip()
    return found


def groups(conf: Conf = None) -> dict[str, dict[str, str]]:
    """Return the options of every group with their descriptions.

    Args:
        conf: the folders of options.

    Returns:
        group to option to description, in the order of the help page. Options in subfolders are named as on the
        command line, such as ``kinfu/table1`` in the group ``experiment``. Groups without options are left out.

    Example:
        >>> groups()["attack"]["pgd"].startswith("PGD")
        True
    """
    roots = places(conf)
    inside = sorted(
        {path.name for root in roots for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"}
    )
    inside = [name for name in inside if name not in NO_GROUPS]
    known = [*(name for name in ORDER if name in inside), *(name for name in inside if name not in ORDER)]
    found = {}
    for name in known:
        options = {option: describe(path) for option, path in option_files(name, roots).items()}
        if options:
            found[name] = options
    return found
