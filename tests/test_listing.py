"""Every option of the project is found and described by its file."""

import pytest
from rich.console import Console

from advvid.cli.listing import main
from advvid.config.catalogue import describe, family, groups, option_files, settings
from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir


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


def test_bases_are_inherited_and_are_no_options(tmp_path):
    files = {
        "_net": "# Base\n_target_: a.Net\nsize: null\nnet: {depth: '???', width: 1}\n",
        "deep": "# Deep\ndefaults: [_net]\nnet: {depth: 50}\n",
        "deeper": "# Deeper\ndefaults: [deep, _self_, /attack@x: pgd]\nnet: {depth: 101}\nsize: 8\n",
        "under": "# What it inherits wins over it\ndefaults: [_self_, deep]\nnet: {depth: 1}\n",
    }
    (tmp_path / "model" / "_old").mkdir(parents=True)
    (tmp_path / "_group").mkdir()
    for name, text in {**files, "_old/gone": "# Gone\n", "../_group/x": "# No group\n"}.items():
        (tmp_path / "model" / f"{name}.yaml").write_text(text)
    assert groups(tmp_path) == {"model": {"deep": "Deep", "deeper": "Deeper", "under": "What it inherits wins over it"}}
    found = option_files("model", tmp_path)
    assert [path.stem for path in family(found["deeper"])] == ["_net", "deep", "deeper"]
    assert settings(found["deeper"]) == {"_target_": "a.Net", "size": 8, "net": {"depth": 101, "width": 1}}
    assert settings(found["under"]).net.depth == 50
    found["deep"].write_text("# Deep\nnet: {depth: [\n")
    with pytest.raises(AdvvidError, match=r"deep.yaml is no YAML file .*: mend it"):
        settings(found["deeper"])


@pytest.mark.parametrize(("group", "name"), [("model", "slowfast_r101"), ("attack", "fgm"), ("runtime", "fsdp")])
def test_settings_are_those_that_hydra_composes(group, name):
    assert composed([f"{group}={name}"])[group] == settings(option_files(group)[name])


def test_list_shows_the_groups_asked_for():
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    main(["tracker"], console)
    text = console.export_text()
    assert "wandb" in text
    assert "pgd" not in text
    with pytest.raises(SystemExit, match="no group 'trakcer': choose from"):
        main(["trakcer"], console)
