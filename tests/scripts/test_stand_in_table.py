"""The commands of the stand-ins' table compose and fit together, and the README shows what was published."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from advvid.core.paths import conf_dir
from advvid.experiment.parts import build

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "scripts"))
import stand_in_table  # noqa: E402


@pytest.mark.parametrize("row", stand_in_table.ROWS)
def test_a_rows_command_is_accepted(row, tmp_path):
    overrides = [*stand_in_table.ROWS[row][1].split(), *stand_in_table.COMMON, *stand_in_table.THREADS, "name=x"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    parts = build(cfg, "pgd")
    assert [column.name for column in parts.columns if not column.attack.control] == ["pgd"]


def test_a_constant_answer_is_the_most_frequent_label():
    score = {"acc": 0.5, "ci95": [0.1, 0.9]}
    table = {"clean": score | {"metrics": {}}, "attacks": {"pgd": score}}
    one = stand_in_table.classes(table, [{"label": label} for label in (0, 1, 1, 2)])
    assert (one["constant"], one["measure"]) == (0.5, "accuracy")
    several = stand_in_table.classes(table, [{"label": label} for label in ([0, 1], [1], [2, 1], [0])])
    assert (several["constant"], several["measure"]) == (0.75, "Hit@1")


def test_errors_are_those_of_the_kept_outputs(tmp_path):
    outs = np.arange(6, dtype=np.float32).reshape(3, 1, 2, 1, 1)
    for number, part in enumerate((outs[:2], outs[2:])):
        (tmp_path / "cells" / "clean-00").mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "cells" / "clean-00" / f"{number:06d}.npz", out=part)
    errors = stand_in_table.squared_errors(tmp_path, "clean", np.zeros_like(outs))
    assert errors == pytest.approx([0.5, (4 + 9) / 2, (16 + 25) / 2])


def test_the_readme_shows_what_was_published():
    block = (TOP / "README.md").read_text().split("<!-- stand_ins: written by scripts/stand_in_table.py -->\n")[1]
    assert block.split("<!-- end of stand_ins -->")[0] == (TOP / "outputs" / "published" / "stand_ins.md").read_text()
