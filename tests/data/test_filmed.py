"""Filmed data sets are found through one variable, stay apart by scene or person, and say what is missing."""

import os
from pathlib import Path

import pytest

from advvid.config.catalogue import option_files, settings
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.data.groups import group_of

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))


def made(name, **options):
    cfg = settings(option_files("dataset")[name])
    cfg.update({"workers": 0, **options})
    return safe_instantiate(cfg)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")
@pytest.mark.parametrize(
    ("name", "total", "classes"), [pytest.param("ut_interaction", 120, 6, marks=pytest.mark.slow), ("weizmann", 72, 4)]
)
def test_scenes_and_people_stand_in_one_split(name, total, classes, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path))
    data = made(name)
    splits = [data.split(split) for split in ("train", "val", "test")]
    assert (sum(map(len, splits)), len(data.classes)) == (total, classes)
    groups = [{group_of(e, data.classes[e.label], data.group_pattern) for e in split.entries} for split in splits]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert splits[0][0][0].shape == (3, 8, 64, 64)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ADVVID_REALDATA", raising=False)
    with pytest.raises(AdvvidError, match=r"filmed and not shipped: set ADVVID_REALDATA=.* or give dataset.root="):
        made("weizmann")
    monkeypatch.setenv("ADVVID_REALDATA", str(tmp_path))
    with pytest.raises(AdvvidError, match=r"weizmann is not a folder: give dataset.root="):
        made("weizmann")
    (tmp_path / "mine").mkdir()
    with pytest.raises(AdvvidError, match=r"mine_splits is not a folder: give dataset.splits="):
        made("weizmann", root=str(tmp_path / "mine"))
