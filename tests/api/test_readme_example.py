"""The examples of a network of one's own run as they stand."""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def python(page):
    return re.findall(r"```python\n(.*?)```", (TOP / page).read_text(), re.DOTALL)


def test_the_example_of_an_own_network_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = [block for block in python("README.md") if "r3d_18" in block]
    evaluated, attacked = python("docs/tutorials/own-network.md")
    assert evaluated == example
    names = {}
    for block in (evaluated, attacked):
        exec(compile(block, "own-network.md", "exec"), names)
    assert "Robustness of Normalised" in capsys.readouterr().out
    assert (tmp_path / "outputs" / "mine" / "robustness.json").is_file()
    assert names["attack"].threat.contains(names["x_adv"], names["clips"]).all()
