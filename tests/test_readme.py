"""The README says what the code and the published results say."""

from pathlib import Path

import pytest

from advvid.paths import conf_dir

TOP = Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text()


@pytest.mark.parametrize("name", ["embedded_table"])
def test_published_tables_are_the_ones_in_the_readme(name):
    block = README.split(f"<!-- {name}: written by scripts/{name}.py -->\n")[1].split(f"<!-- end of {name} -->")[0]
    assert block == (TOP / "outputs" / "published" / f"{name}.md").read_text()


def test_nothing_is_left_to_fill_in():
    for word in ("TABLE", "DEMO", "RUNTIME", "CAVEATS"):
        assert word not in README.split()


def test_every_defense_is_named():
    names = {path.stem for path in (conf_dir() / "defense").glob("*.yaml")} - {"none"}
    assert not {name for name in names if f"`{name}`" not in README}
