"""What strangers wrote is read within bounds: bombs end in one sentence, at once."""

import pickle
import time
import zipfile

import pytest
import torch
from omegaconf import OmegaConf

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.pickles import unfolds
from advvid.core.plain import check_plain, parse_json, read_json, read_yaml
from advvid.core.saved_config import checked, stored


def bomb(depth=60, kind=list):
    value = kind(("x", "y"))
    for _ in range(depth):
        value = kind((value, value))
    return value


def deep(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(autouse=True)
def quick():
    """Every test here would take minutes, or for ever, if the bomb went off."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 5


YAML_BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)


HOSTILE = [
    YAML_BOMB,
    "a: " + "[" * 5000,
    "- x\n" * 60_000,
    "!!python/object/apply:os.getcwd []",
    "a: [",
    "\x00",
    "1: 2: 3",
    "- 2001-99-99",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_yaml_that_no_run_writes(tmp_path, text):
    (tmp_path / "overrides.yaml").write_text(text)
    with pytest.raises(AdvvidError, match=r"overrides.yaml (holds|cannot be read)"):
        read_yaml(tmp_path / "overrides.yaml")


def test_yaml_of_hydra_is_read(tmp_path):
    (tmp_path / "overrides.yaml").write_text("- attack.eps=4/255\n- dataset.root=${oc.env:HOME}\n")
    assert read_yaml(tmp_path / "overrides.yaml")[1] == "dataset.root=${oc.env:HOME}"  # as it stands


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 70 + "]" * 70, "{", '{"n": 1' + "0" * 5000 + "}", "\ud800"])
def test_json_that_no_run_writes(text):
    with pytest.raises(AdvvidError, match=r"table (holds|cannot be read)"):
        parse_json(text, "table")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
        with pytest.raises(AdvvidError, match="cannot be read"):
            read_json(path)


@pytest.mark.parametrize("value", [bomb(), bomb(kind=tuple), deep(2000), {"a": 10**400}, {"a": object()}])
def test_values_that_unfold_are_refused(value):
    with pytest.raises(AdvvidError, match="this holds"):
        check_plain(value, "this")


@pytest.mark.parametrize("where", ["config", "defense", "classes", "optimizer"])
def test_bombs_in_a_checkpoint(tmp_path, where):
    state = {"format": 1, "model": {}, "config": {}, "classes": [], "defense": {}}
    torch.save(state | {where: {"a": bomb()} if where != "classes" else bomb()}, tmp_path / "last.pt")
    with pytest.raises(AdvvidError, match=r"holds (more than|values nested)"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_checkpoint_whose_key_takes_for_ever_to_hash(tmp_path):
    # {(shared, shared): 1}, written by hand: Python cannot even make it.
    key = pickle.dumps(bomb(kind=tuple), 2)[2:-1]
    assert unfolds(b"\x80\x02}" + key + b"K\x01s.")
    torch.save({"format": 1}, tmp_path / "last.pt")
    with zipfile.ZipFile(tmp_path / "last.pt") as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as changed:
        for name in whole.namelist():
            data = b"\x80\x02}" + key + b"K\x01s." if name.endswith("data.pkl") else whole.read(name)
            changed.writestr(name, data)
    with pytest.raises(AdvvidError, match="unfolds"):
        checkpoint.load(tmp_path / "bomb.pt")


def test_a_packed_checkpoint_is_refused(tmp_path):
    torch.save({"format": 1, "model": {"w": torch.zeros(10)}}, tmp_path / "last.pt")
    with (
        zipfile.ZipFile(tmp_path / "last.pt") as whole,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(AdvvidError, match="unfolds"):
        checkpoint.load(tmp_path / "packed.pt")


ASKING = [
    "${oc.env:SECRET}",
    "/x/${oc.env:SECRET}",
    "${now:%Y}",
    "${hydra:runtime.cwd}",
    "${nothing}",
    "${..b}${..b}",
    "${..list}",
    "${a.here}",
    "${......up}",
]


@pytest.mark.parametrize("text", ASKING)
def test_a_stored_configuration_asks_for_nothing(text):
    config = {"a": {"here": text}, "b": "x", "list": [{"b": 1}], "choices": {}}
    with pytest.raises(AdvvidError, match=r"a stored configuration asks for nothing|cannot be read"):
        checked(config, "last.pt")


def test_references_to_plain_values_stay_and_titles_of_older_runs_go():
    config = {
        "name": "${hydra:runtime.choices.dataset}",
        "model": {
            "num_classes": None,
            "net": {"num_classes": "${..num_classes}", "size": "${model.size}"},
            "size": [1, 2],
        },
    }
    found = checked(config, "last.pt")
    assert "name" not in found
    assert found["model"] == config["model"]
    assert found["choices"] == {}


NAMES = [
    "../../../strange/evil",
    "/etc/passwd",
    "a\nhydra.run.dir=/x",
    "a'",
    'a"',
    "..",
    "",
    "a b",
    "x" * 200,
    "${seed}",
    3,
    None,
    ["a"],
    "é",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", ["suite", "attack"])
def test_choices_are_names(group, name):
    with pytest.raises(AdvvidError, match=r"choices.*no name of an option|asks for nothing"):
        checked({"choices": {group: name}}, "last.pt")


def test_choices_of_runs_are_let_through():
    choices = {
        "suite": "lo",
        "experiment": "kinfu/cat",
        "purifier": "['jpeg', 'resize']",
        "attack@suite.mim": "mi_fgsm",
        "defense/at": "at",
    }
    assert checked({"choices": choices}, "last.pt")["choices"] == choices


def test_what_a_run_stores_holds_the_answers(monkeypatch):
    monkeypatch.setenv("PLACE", "/data")
    cfg = OmegaConf.create(
        {
            "dataset": {"root": "${oc.env:PLACE}", "parts": ["${oc.env:PLACE}/a"]},
            "model": {"k": None, "net": {"k": "${..k}"}},
            "same": "${dataset.root}",
        }
    )
    found = stored(cfg)
    assert found["dataset"] == {"root": "/data", "parts": ["/data/a"]}
    assert found["model"]["net"]["k"] == "${..k}"
    assert found["same"] == "/data"
    assert checked(found, "this")
