"""The README says what the code and the published results say."""

import re
from pathlib import Path

from advvid.config.catalogue import groups

TOP = Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text()


def test_nothing_is_left_to_fill_in():
    for word in ("TABLE", "DEMO", "RUNTIME", "CAVEATS"):
        assert word not in README.split()


def test_every_option_that_it_chooses_exists():
    known = groups()
    chosen = re.findall(rf"(?<![\w.@])({'|'.join(known)})=(\w+)", README)
    assert len(chosen) > 50
    assert not {f"{group}={option}" for group, option in chosen if option not in known[group] and option != "null"}


def test_every_defense_of_its_table_exists():
    table = README.split("| | `defense=` |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) <= set(groups()["defense"])
