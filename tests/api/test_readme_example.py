"""The README's example of a network of one's own runs as it stands."""

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_example_of_an_own_network_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "r3d_18" in block]
    exec(compile(example, "README.md", "exec"), {})
    assert "Robustness of Normalised" in capsys.readouterr().out
    assert (tmp_path / "outputs" / "mine" / "robustness.json").is_file()
