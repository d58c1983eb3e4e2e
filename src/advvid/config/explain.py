"""Errors of the configuration in one clear sentence: what is wrong, the nearest valid spelling, the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from advvid.config.catalogue import Conf, family, groups, option_files
from advvid.core.errors import AdvvidError

HELP = "python -m advvid.train --help"
MANY = 30
# Options of Hydra's own that a package brings, by the extra that has it.
EXTRAS = {
    "launcher/joblib": "sweeps",
    "launcher/submitit_local": "sweeps",
    "launcher/submitit_slurm": "sweeps",
    "launcher/ray": "ray",
    "sweeper/optuna": "optuna",
}


def explain(error: Exception, conf: Conf = None) -> str:
    """Put an error of Hydra or OmegaConf into one sentence that names the thing and the remedy.

    Args:
        error: what composing or reading the configuration raised.
        conf: the folders of options.

    Example:
        >>> explain(AdvvidError("clips are missing: set dataset.root"))
        'clips are missing: set dataset.root'
    """
    for link in _chain(error):
        if isinstance(link, AdvvidError):
            return str(link)
    if isinstance(error, MissingConfigException):
        return _option(error, groups(conf))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value: give {error.full_key}=..."
    if isinstance(error, InterpolationKeyError):
        return f"{error.full_key} refers to something that does not exist ({_first_line(error)}): check its spelling"
    cause = error.__cause__
    if str(error).startswith("Could not override") and isinstance(cause, OmegaConfBaseException):
        return _key(_quoted(error), cause, conf)
    return _message(error, conf)


def no_option(error: ValueError, arguments: Sequence[str], conf: Conf = None) -> str | None:
    """Put into one sentence that a group was given something that is no name, such as ``attack=null``.

    Hydra raises a plain ``ValueError`` for it, which does not say where.

    Args:
        error: what was raised.
        arguments: the command line.
        conf: the folders of options.

    Returns:
        None where the error is about something else.
    """
    if not str(error).startswith("Config group override"):
        return None
    known = groups(conf)
    for override in OverridesParser.create().parse_overrides([a for a in arguments if "=" in a and a[0] != "-"]):
        group, words = override.key_or_group, (override.input_line or "").partition("=")[2].split(",")
        nameless = (
            "null" in words if override.is_sweep_override() else not isinstance(override.value(), str | list | dict)
        )
        if group in known and nameless:
            return f"{override.input_line} names no option: give {group}=<name>, {_near('', known[group])}"
    return f"{_first_line(error)}: see {HELP}"


def refuse_bases(arguments: Sequence[str], conf: Conf = None) -> None:
    """Refuse a base that options inherit from, in place of an option.

    Args:
        arguments: the command line.
        conf: the folders of options.

    Raises:
        AdvvidError: naming the group's options.
    """
    for key, equals, value in (a.partition("=") for a in arguments):
        group = key.lstrip("+").split("@")[0]
        if equals and any(name.strip("'\" ").startswith("_") for name in value.strip("[]").split(",")):
            known = groups(conf).get(group)
            if known is not None:
                raise AdvvidError(f"{key}={value} is no option, but what options inherit from: {_near('', known)}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".:")


def _quoted(error: BaseException) -> str:
    """Return the first thing that Hydra's message names."""
    found = re.search(r"'([^']+)'", str(error))
    return found[1] if found else ""


def _near(word: str, options: Collection[str]) -> str:
    """Return " did you mean ...?", or the choice, short or pointing to the help page where it is long."""
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {', '.join(options)}" if 0 < len(options) <= MANY else f"see {HELP}"


def _option(error: MissingConfigException, known: Mapping[str, Mapping[str, str]]) -> str:
    """A group has no such option, or there is no such group."""
    missing = error.missing_cfg_file or ""
    group, slash, option = missing.lstrip("/").partition("/")
    if slash and not option and group in known:
        return f"{group}= names no option: give {group}=<name>, {_near('', known[group])}"
    if not option:
        return f"there is no configuration {missing!r}: {_near(missing, known)}"
    if group == "hydra" and option in EXTRAS:
        return f"hydra/{option.replace('/', '=')} is not installed: pip install 'advvid[{EXTRAS[option]}]'"
    options = [o for o in error.options or () if not o.startswith("_")] or list(known.get(group, ()))
    if not options:
        return f"there is no group {group!r}: {_near(group, known)}"
    text = f"{group}={option} does not exist: {_near(option, options)}"
    return text if "choose from" in text or len(options) > MANY else f"{text} (options: {', '.join(options)})"


def _unreadable(override: str) -> str:
    """The command line has a word that is no override."""
    if "=" not in override:
        return f"{override!r} is no setting: write KEY=VALUE, for example {override.lstrip('+~')}=..."
    return (
        f"{override!r} cannot be read: write KEY=VALUE, close every bracket and quote, and put a value with special "
        "characters in quotes of both kinds, such as 'name=\"a, b\"'"
    )


def _key(wanted: str, cause: OmegaConfBaseException, conf: Conf) -> str:
    """There is no such key; ``wanted`` is the whole of it, ``cause`` knows the part that does not exist."""
    parts = wanted.split(".")
    index = min(str(cause.full_key).count("."), len(parts) - 1)
    wrong, place = parts[index], ".".join(parts[:index])
    parent = cause.parent_node if OmegaConf.is_dict(cause.parent_node) else {}
    siblings = [str(key) for key in (parent or {}) if not str(key).startswith("_")]
    known = groups(conf)
    if not place:
        siblings = list(dict.fromkeys([*siblings, *known]))
    owners = list(_owners(parts[-1], conf))
    same = [option for group, option in owners if f"{group}.{parts[-1]}" == wanted]
    if same:
        return f"the chosen {place} has no {wrong}: choose {place}={' or '.join(same)}, or one of {', '.join(siblings)}"
    close = difflib.get_close_matches(wrong, siblings, n=1, cutoff=0.6)
    if close:
        return f"there is no key {wanted}: did you mean {'.'.join([*parts[:index], close[0], *parts[index + 1 :]])}?"
    elsewhere = sorted({f"{group}.{parts[-1]}" for group, _ in owners})
    if elsewhere:
        return f"there is no key {wanted}: did you mean {' or '.join(elsewhere)}?"
    if place:
        held = f"has the keys {', '.join(siblings)}" if siblings else "holds a value and no further keys"
        return f"there is no key {wanted}: {place} {held}"
    return f"there is no key {wanted}: see {HELP}"


def _owners(key: str, conf: Conf) -> Iterator[tuple[str, str]]:
    """Yield the options, as (group, option), that have a key of this name."""
    for group in groups(conf):
        for option, path in option_files(group, conf).items():
            texts = (file.read_text(encoding="utf-8") for file in family(path))
            if "/" not in option and any(re.search(rf"^{re.escape(key)}:", text, re.M) for text in texts):
                yield group, option


def _message(error: Exception, conf: Conf) -> str:
    """Errors that Hydra tells apart by their words alone."""
    text = str(error)
    ambiguous = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", text)
    if ambiguous:
        key, value = ambiguous.groups()
        return f"{key}={value} gives several values: add -m to run each of them, or write '{key}=[{value}]' for a list"
    if text.startswith("Could not append"):
        return f"{_quoted(error)} exists already: leave out the + to change it"
    if text.startswith("Could not delete"):
        return f"{_quoted(error)} does not exist, so that ~ cannot delete it: see {HELP}"
    if "appears more than once" in text:
        name = text.split(" ", 1)[0]
        return f"{name} is chosen already: write {name}=... once and without a +"
    group = re.search(r"config group '([^']+)' does not exist", text)
    if group:
        return f"there is no group {group[1]!r}: {_near(group[1], groups(conf))}"
    if text.startswith("Could not override"):
        return f"{_quoted(error)} is not chosen by default: write +{_quoted(error)}=... to add it"
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    where = f"{source.full_key}: " if isinstance(source, OmegaConfBaseException) and source.full_key else ""
    return f"{where}{_first_line(source)}: see {HELP}"
