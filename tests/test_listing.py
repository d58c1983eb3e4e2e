"""Every option of the project is found and described by its file."""

import pytest
from rich.console import Console

from advvid.listing import describe, groups, main
from advvid.paths import conf_dir


def test_description_is_the_first_comment_that_is_no_directive(tmp_path):
    path = tmp_path / "row.yaml"
    path.write_text("# @package _global_\n# Table 1, row 2\n# more\nseed: 0\n")
    assert describe(path) == "Table 1, row 2"
    path.write_text("seed: 0\n# too late\n")
    assert describe(path) == ""


def test_groups_are_the_folders(tmp_path):
    for name in ("attack/pgd", "zoo/lion", "experiment/kinfu/table1", "model/r3d", "hydra/job_logging/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(f"# The {name}\n")
    (tmp_path / "detector").mkdir()
    assert groups(tmp_path) == {
        "model": {"r3d": "The model/r3d"},
        "attack": {"pgd": "The attack/pgd"},
        "experiment": {"kinfu/table1": "The experiment/kinfu/table1"},
        "zoo": {"lion": "The zoo/lion"},
    }


@pytest.mark.parametrize(
    "path", sorted(conf_dir().glob("[!h]*/**/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_option_describes_itself(path):
    words = describe(path)
    assert 10 < len(words) < 130


def test_list_shows_the_groups_asked_for():
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    main(["tracker"], console)
    text = console.export_text()
    assert "wandb" in text
    assert "pgd" not in text
    with pytest.raises(SystemExit, match="no group 'trakcer': choose from"):
        main(["trakcer"], console)
