"""A folder of options of the user's own adds options, and neither hides one nor tells Hydra what to start."""

import pytest

from advvid.config.catalogue import groups, option_files, settings
from advvid.config.folders import folders, origin, split_flags
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "my_net.yaml").write_text(
        "# Mine\ndefaults: [_classifier]\nnet: {_target_: lab.Net}\n"
    )
    return tmp_path / "my_conf"


def test_its_options_stand_among_the_others_with_their_origin(mine):
    places = folders(["--config-dir", str(mine)])
    files = option_files("model", places)
    assert groups(places)["model"]["my_net"] == "Mine"
    assert origin(files["my_net"], places) == "from my_conf"
    assert origin(files["r3d_18"], places) == ""
    assert "my_net" not in groups()["model"]
    assert settings(files["my_net"]).mean == 0.45  # of the base, which is advvid's


@pytest.mark.parametrize("flag", [["--config-dir", "X"], ["--config-dir=X"], ["-cd", "X"]])
def test_the_flag_may_stand_anywhere(mine, flag):
    words = [word.replace("X", str(mine)) for word in flag]
    assert split_flags(["a=1", *words, "b=2"]) == (words, ["a=1", "b=2"])
    assert folders(["a=1", *words, "b=2"])[-1] == mine


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for words in (["--config-dir", str(tmp_path / "none")], ["--config-dir"], ["--config-dir="]):
        with pytest.raises(AdvvidError, match="there is no folder"):
            folders(words)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("attack/pgd.yaml", "# Theirs\n", "has the name of"),
        ("train.yaml", "trust: [evil]\n", "has the name of"),
        ("model/_classifier.yaml", "{}\n", "has the name of"),
        ("hydra/launcher/x.yaml", "_target_: os.system\n", "settings of Hydra"),
        (
            "experiment/x.yaml",
            "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}\n",
            "settings of Hydra",
        ),
        (
            "experiment/x.yaml",
            '# @package _global_\n"\\x68ydra": {callbacks: {x: {_target_: os.system}}}\n',
            "settings of Hydra",
        ),
        ("attack/x.yaml", "# @package hydra.callbacks.x\n_target_: os.system\n", "settings of Hydra"),
        ("attack/x.yaml", "# Nice\ndefaults: [{/attack@_global_.hydra.callbacks: y}]\n", "settings of Hydra"),
        ("attack/x.yaml", "# Nice\ndefaults: [{override /hydra/launcher: y}]\n", "settings of Hydra"),
        ("attack/x.yaml", "# Nice\ndefaults: ['${oc.env:X}']\n", "settings of Hydra"),
        ("attack/x.yaml", "a: [\n", "no YAML file"),
        ("attack/x.yaml", "a: 1\na: 2\n", "no YAML file"),
        ("attack/x.yaml", "3\n", "no YAML file"),
    ],
)
def test_a_strangers_folder_starts_nothing_and_hides_nothing(mine, name, text, words):
    (mine / name).parent.mkdir(parents=True, exist_ok=True)
    (mine / name).write_text(text)
    with pytest.raises(AdvvidError, match=words):
        folders(["--config-dir", str(mine)])


def test_what_lies_behind_a_link_counts(mine, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "x.yaml").write_text("# @package hydra.callbacks\nx: {_target_: os.system}\n")
    (mine / "attack").symlink_to(tmp_path / "else")
    (mine / "loop").symlink_to(mine)
    with pytest.raises(AdvvidError, match="settings of Hydra"):
        folders(["--config-dir", str(mine)])
    assert len(folders()) == 1
    assert folders()[0] == conf_dir()
