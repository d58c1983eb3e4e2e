"""Every option in conf/ composes, resolves, binds to its signature and builds."""

import inspect
from functools import cache
from itertools import zip_longest

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from advvid.config.catalogue import option_files
from advvid.config.composed import composed_with_choices
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir

CONF = conf_dir()
GROUPS = ("model", "dataset", "attack", "defense", "schedule", "suite", "analysis", "runtime", "tracker")
OPTIONS = [(group, option) for group in GROUPS for option in option_files(group)]
# The first options of all groups, the second ones, and so on: chosen together, in a third of the time.
ROWS = [
    [override for override in row if override]
    for row in zip_longest(*([f"{group}={option}" for option in option_files(group)] for group in GROUPS))
]


def composed(*overrides: str) -> DictConfig:
    return composed_with_choices(list(overrides))[0]


@cache
def every(group: str) -> DictConfig:
    """All options of a group in one composition, which takes as long as few single ones."""
    return composed(*(f"+{group}@every.{option}={option}" for option in option_files(group))).every


@cache
def together(*overrides: str) -> DictConfig | None:
    """One option of each group; None if one of them does not compose, and each has to be tried alone."""
    try:
        return composed(*overrides)
    except AdvvidError:
        return None


def nodes(node):
    """Yield every instantiation node below, itself included."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from nodes(node._get_node(key) if not OmegaConf.is_interpolation(node, key) else None)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids="/".join)
def test_every_option_composes_and_binds(group, option):
    (row,) = (row for row in ROWS if f"{group}={option}" in row)
    cfg = together(*row) or composed(f"{group}={option}")
    if group == "attack":  # other tests take it from there
        assert every(group)[option] == cfg[group]
    found = list(nodes(cfg[group]))
    assert found, f"{group}/{option} names nothing to build"
    for node in found:
        target = get_object(node["_target_"])
        arguments = {k: None for k in node if not str(k).startswith("_")}
        signature = inspect.signature(target)
        signature.bind_partial(**arguments)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids="/".join)
def test_every_option_is_described_in_one_line(group, option):
    first = (CONF / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert 10 < len(first) < 130


def test_no_option_is_listed_twice_under_one_setting():
    """Two options of one group never hold the same settings."""
    for group in GROUPS:
        seen = {}
        for option, path in option_files(group).items():
            body = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
            assert body not in seen, f"{option} repeats {seen[body]}"
            seen[body] = option
