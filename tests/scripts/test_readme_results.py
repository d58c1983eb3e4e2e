"""The README's tables are the published ones, and a stale one is noticed."""

import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts"))
from advvid.core.errors import AdvvidError  # noqa: E402
from readme_results import ELSEWHERE, OPENING, fill, main, render  # noqa: E402

PUBLISHED = TOP / "outputs" / "published"


def block(name, text):
    return f"<!-- {name}: written by scripts/{name}.py -->\n{text}<!-- end of {name} -->\n"


def test_the_readme_is_not_stale(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err
    names = OPENING.findall((TOP / "README.md").read_text())
    assert {"embedded", "stand_ins", "papers"} <= set(names)
    assert all((PUBLISHED / f"{name}.md").is_file() for name in names if name not in ELSEWHERE)
    for test in ELSEWHERE.values():
        assert "README.md" in (TOP / "tests" / "scripts" / f"{test}.py").read_text()


def test_a_stale_block_is_named_and_written_anew(tmp_path, capsys):
    readme = tmp_path / "README.md"
    before = (
        "# Title\n\n"
        + block("one", "old \\1 numbers\n")
        + "\nwords between\n"
        + block("two", "as published\n")
        + "end\n"
    )
    readme.write_text(before)
    (tmp_path / "one.md").write_text("new \\g<1> numbers\n")
    (tmp_path / "two.md").write_text("as published")
    where = ["--readme", str(readme), "--published", str(tmp_path)]
    assert main([*where, "--check"]) == 1
    assert "stale in one: run make readme" in capsys.readouterr().err
    assert readme.read_text() == before
    assert main(where) == 0
    assert readme.read_text() == before.replace("old \\1 numbers", "new \\g<1> numbers")
    assert main([*where, "--check"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (block("gone", "x\n"), "there is no .*gone.md"),
        ("<!-- one: written by scripts/one.py -->\nnumbers\n", "block one has no line <!-- end of one -->"),
    ],
)
def test_a_block_without_source_or_end_is_refused(tmp_path, text, said):
    (tmp_path / "one.md").write_text("x\n")
    with pytest.raises(AdvvidError, match=said):
        render(text, tmp_path)


def test_what_is_published_elsewhere_leaves_the_readme_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(block("one", "old\n"))
    fill("one", "new\n", tmp_path, readme)
    assert "old" in readme.read_text()
    fill("one", "new\n", PUBLISHED, readme)
    assert readme.read_text() == block("one", "new\n")
