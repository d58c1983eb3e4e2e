"""What a number rests on: a configuration as named parts, each with a digest, compared wherever a result is used again.

An option is *result-bearing* unless ``option_parts.NEUTRAL`` names it: a new option counts from the day it is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from advvid.core import digests
from advvid.core.errors import AdvvidError
from advvid.core.escape import clipped
from advvid.core.installed import installed
from advvid.core.option_parts import IN_CELLS, ROUNDING, SCORED, TRAINED, names_file, part_of
from advvid.core.own_code import with_source
from advvid.core.paths import user_path

# Packages whose versions move bits of clips, networks and searches.
PACKAGES = ("advvid", "torch", "torchvision", "pytorchvideo", "decord", "decord2", "av", "torchcodec", "numpy")


@dataclass(frozen=True)
class Difference:
    """An option that differs between two configurations.

    Args:
        option: dotted, such as ``attack.eps``.
        part: that it belongs to.
        old: its value before; ``ABSENT`` where there was no such option.
        new: its value now, likewise.
    """

    option: str
    part: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if isinstance(self.old, Mapping) and isinstance(self.new, Mapping):
            return f"the content of the file of {self.option} is another"
        return f"{self.option} was {shown(self.old)} and is now {shown(self.new)}"


ABSENT = "not there"


@dataclass(frozen=True)
class Identity:
    """A configuration as parts: part -> dotted option -> plain value, in one form whatever its spelling.

    Example:
        >>> old, new = Identity.of({"seed": 0, "attack": {"eps": "8/255"}}), Identity.of({"seed": 1, "attack": {"eps": 8 / 255}})
        >>> [str(d) for d in new.differences(old)]
        ['seed was 0 and is now 1']
    """

    parts: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, config: DictConfig | Mapping[str, Any], read_files: bool = True) -> Identity:
        """Return the identity of a run's configuration.

        Args:
            config: composed, or as plain values.
            read_files: put the digest of a file in place of its path where an option names weights.

        Raises:
            AdvvidError: if an interpolation of the configuration leads nowhere.
        """
        parts: dict[str, dict[str, Any]] = {}
        for option, value in options(config):
            part = part_of(option)
            if part is not None:
                kept = _content(option, value) if read_files else value
                parts.setdefault(part, {})[option] = digests.canonical(kept)
        return cls(parts)

    @classmethod
    def load(cls, saved: Any) -> Identity | None:
        """Return an identity from its plain form, ``dict(parts)``; None where there is none."""
        if not isinstance(saved, Mapping) or not all(isinstance(part, Mapping) for part in saved.values()):
            return None
        return cls({str(name): digests.canonical(part) for name, part in saved.items()})

    def plain(self) -> dict[str, dict[str, Any]]:
        """Return the parts as plain dictionaries, for a checkpoint or a JSON file."""
        return {name: dict(part) for name, part in sorted(self.parts.items())}

    def select(self, names: Sequence[str]) -> Identity:
        """Return these parts alone."""
        return Identity({name: self.parts[name] for name in names if name in self.parts})

    def without(self, *names: str) -> Identity:
        """Return all other parts."""
        return Identity({name: part for name, part in self.parts.items() if name not in names})

    @property
    def training(self) -> Identity:
        """What a training rests on; where purifiers stand in front of the model in training, on these as well."""
        behind = self.parts.get("training", {}).get("purify_training") is True
        return self.without(*(part for part in SCORED if not (behind and part == "front")), ROUNDING)

    @property
    def scoring(self) -> Identity:
        """What a score rests on besides the weights."""
        return self.without(*TRAINED, ROUNDING)

    @property
    def around_cells(self) -> Identity:
        """What a score rests on besides what each cell knows by itself: the model, what stands before it, numerics."""
        return self.scoring.without(*IN_CELLS)

    def with_part(self, name: str, values: Mapping[str, Any]) -> Identity:
        """Return the identity with a part of its own values, such as the digests of clips, in place of what it had."""
        return Identity({**self.parts, name: digests.canonical(values)})

    def digest(self, *names: str) -> str:
        """Return one digest of these parts; of all of them where none is named."""
        return digests.of_values(self.select(names or tuple(self.parts)).plain())

    def part_digests(self) -> dict[str, str]:
        """Return a digest of each part."""
        return {name: self.digest(name) for name in sorted(self.parts)}

    def differences(self, old: Identity, names: Sequence[str] | None = None) -> list[Difference]:
        """Return every option of these parts (None: all) that an older identity has otherwise."""
        found = []
        for part in names if names is not None else sorted({*self.parts, *old.parts}):
            before, now = old.parts.get(part, {}), self.parts.get(part, {})
            found += [
                Difference(option, part, before.get(option, ABSENT), now.get(option, ABSENT))
                for option in sorted({*before, *now})
                if before.get(option, ABSENT) != now.get(option, ABSENT)
            ]
        return found


def options(config: DictConfig | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every option of a configuration with its value, interpolations resolved; a list is one value.

    Raises:
        AdvvidError: if an interpolation leads nowhere.
    """
    cfg = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    for key in cfg:
        name = str(key)
        if part_of(name) is None:
            continue  # may refer to what only the present command line knows, such as ``name``
        try:
            node: Any = cfg[key]
            value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except OmegaConfBaseException as error:
            raise AdvvidError(f"{name} cannot be read: {str(error).splitlines()[0]}") from None
        yield from flat(value, name)


def flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the plain values below a name, each by its dotted name; a list is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}")
    else:
        yield prefix, value


def _content(option: str, value: Any) -> Any:
    """Return the digest of the file or of the user's code that an option names; the value itself where it names none."""
    if option.endswith("._target_") and isinstance(value, str):
        return with_source(value)
    if not names_file(option):
        return value
    if isinstance(value, list | tuple):
        return [_content(option, item) for item in value]
    if not isinstance(value, str):
        return value
    path = user_path(value)
    places = [path, path / "checkpoints" / "last.pt", path / "checkpoints" / "best.pt"]
    try:
        if (path / "config.json").is_file():  # a folder of Hugging Face's form
            places += [*sorted(path.glob("*.json")), *sorted(path.glob("*.safetensors"))]
        return {
            place.name if place != path else "file": digests.of_file(place) for place in places if place.is_file()
        } or value
    except OSError:
        return value  # whoever opens it says what is wrong with it


def versions() -> dict[str, str]:
    """Return the versions that move bits; PyTorch's with the build that it is."""
    return {**installed(PACKAGES), "torch": torch.__version__}


def of_attack(attack: Any) -> str:
    """Return a digest of an attack: its class, its settings and those of attacks within it; of files, the content.

    Args:
        attack: a frozen dataclass.
    """
    return digests.of_values(described(attack))


def described(value: Any, name: str = "") -> Any:
    """Return an object's settings as plain values: of dataclasses, partial functions and what is nested in them.

    Args:
        value: of anything else its content (networks, tensors) or its name (functions, classes) counts.
        name: of the option that it stands for; the content of a file that this names counts in place of its path.

    Example:
        >>> described(partial(torch.optim.SGD, lr=0.1))
        {'class': 'torch.optim.sgd.SGD', 'lr': 0.1}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return _content(name, value)
    if isinstance(value, nn.Module):
        return digests.of_module(value)
    if isinstance(value, Tensor):
        return digests.of_array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Other fields, such as probabilities that move in training, are state.
        fields = {
            f.name: described(getattr(value, f.name), f"{name}.{f.name}") for f in dataclasses.fields(value) if f.init
        }
        return {"class": described(type(value)), **fields}
    if isinstance(value, partial):
        given = {str(i): described(item) for i, item in enumerate(value.args)}
        return {"class": described(value.func), **given, **described(value.keywords)}
    if isinstance(value, Mapping):
        return {str(key): described(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item, name) for item in value]
    if isinstance(value, Path):
        return _content(name, str(value))
    kind = value if hasattr(value, "__qualname__") else type(value)
    return with_source(f"{kind.__module__}.{kind.__qualname__}", kind.__module__)


def shown(value: Any) -> str:
    """Return a value of an option as a person would write it.

    Example:
        >>> shown(8 / 255), shown(True), shown(20.0), shown(None)
        ('8/255', 'true', '20', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        levels = value * 255  # budgets are given in steps of a pixel
        return f"{round(levels)}/255" if 0 < value < 0.1 and abs(levels - round(levels)) < 1e-9 else f"{value:.6g}"
    if isinstance(value, Mapping):
        return "a file" if value else "{}"
    text = str(value)
    return clipped(text, 60)
