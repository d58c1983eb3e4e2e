"""Folders of any name: typed on a command line, composed, found again."""

import random
import shutil

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.command import run

from advvid.config.command_line import as_typed, odd_run_folder, quoted, typed_path
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir, user_path
from advvid.core.saved_config import checked, stored

QUICK = [
    "tracker=none",
    "runtime=cpu",
    "schedule.epochs=1",
    "dataset.limit_train=20",
    "dataset.limit_val=10",
    "dataset.limit_test=10",
    "suite=own",
    "attack.steps=2",
    "evaluation.pictures=0",
]
NAMES = [
    "a=b",
    "a,b",
    "[a]",
    "{a}",
    "{a:1}",
    "${a}",
    "${oc.env:HOME}",
    "\\${a}",
    "$HOME",
    "'a'b",
    'a"b',
    "a'",
    "\\'",
    "a\\",
    "a#b",
    "(a)",
    "a(b",
    "~",
    "~a",
    "a b",
    " a",
    "a ",
    "a  b",
    "a\tb",
    "a\nb",
    "-a",
    "--help",
    "+a",
    "!a",
    "a!b",
    "&a;b|c",
    "<a>",
    "a?b*",
    "a%20b%d%s",
    "ü",
    "漢字",
    "😀",
    "e\u0301",
    "\u202ea",
    "a.",
    "...",
    ".a",
    "a..b",
    "null",
    "true",
    "1e5",
    "???",
    "a:b",
    "a@b",
    "`a`",
    "^a",
    "x" * 255,
    "ü" * 127,
    "\x01\x7f",
    "a=[b],{c} ${x} '\"# (1) ~$%\\n",
    "last.pt",
    "{",
    "}",
    "[",
    "]",
    "${",
    "a=${b}",
]


def hostile_names(count):
    """The names above and random ones of the characters that mean something to a shell, Hydra, YAML or Markdown."""
    draw, signs = random.Random(0), "\\\\'\"$${}[]()=,#:;~ .&|*?!%<>`@^+-_\n\tab1éß漢😀"
    names = list(NAMES)
    while len(names) < count:
        name = "".join(draw.choice(signs) for _ in range(draw.randint(1, 20)))
        if name not in names and name not in (".", "..") and name.strip():
            names.append(name)
    return names


def read(arguments):
    """What Hydra and OmegaConf make of a command line; composing all of it costs a hundred times as much."""
    cfg = OmegaConf.create({})
    for override in OverridesParser.create().parse_overrides(arguments):
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


def composed(arguments):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [*arguments, "name=a"], return_hydra_config=True)


@pytest.mark.parametrize("name", hostile_names(100), ids=ascii)
def test_a_folder_of_any_name_is_read_and_found(name, tmp_path):
    read_and_found(name, tmp_path, read)


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile_names(100), ids=ascii)
def test_a_folder_of_any_name_is_composed_and_found(name, tmp_path):
    cfg = read_and_found(name, tmp_path, composed)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    # What a run stores about it is read again as it was.
    again = OmegaConf.create(checked(stored(cfg), "a run"))
    assert again.dataset.root == str(tmp_path / name)


def read_and_found(name, tmp_path, how):
    folder = tmp_path / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").touch()
    (folder / "a b.avi").touch()
    options = ["checkpoint", "dataset.root", "model.checkpoint"]
    paths = [f"{option}={folder}" for option in options]
    cfg = how(as_typed([*paths, f"files=[{folder}/a b.avi]", f"hydra.run.dir={folder}"]))
    assert all(OmegaConf.select(cfg, option) == str(folder) for option in options)
    assert list(cfg.files) == [f"{folder}/a b.avi"]
    assert cfg.hydra.run.dir == ("." if "${" in name else str(folder))
    assert checkpoint.find(cfg.checkpoint) == folder / "checkpoints" / "last.pt"
    return cfg


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_relative_name_is_taken_as_typed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read(as_typed([f"checkpoint={name}"])).checkpoint
    if name in ("null", "???"):
        assert found == {"null": None, "???": "./???"}[name]
    else:
        assert found == typed_path(name)
        (tmp_path / name).mkdir()
        assert user_path(found).resolve() == tmp_path / name


def test_random_texts_survive_the_quoting():
    for name in set(hostile_names(2000)) - {"???"}:
        assert read([f"checkpoint={quoted(name)}"]).checkpoint == name


def test_what_is_quoted_for_hydra_already_keeps_its_meaning():
    assert as_typed(["checkpoint='a=b'", 'dataset.root="${name}"']) == ["checkpoint='a=b'", 'dataset.root="${name}"']
    assert typed_path("'a=b'") == "a=b"


def test_a_sweep_keeps_its_commas():
    assert as_typed(["-m", "checkpoint=a=1,b [2]"]) == ["-m", "checkpoint='a=1','b [2]'"]
    assert as_typed(["-m", "dataset.root=choice(a,b)"]) == ["-m", "dataset.root=choice(a,b)"]
    with pytest.raises(AdvvidError, match=r"hydra\.sweep\.dir=a\$\{b\} holds \$\{"):
        as_typed(["-m", "hydra.sweep.dir=a${b}"])


def test_lists_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.avi").touch()
    assert as_typed(["files=[a,b.avi,c d.avi,'e,f']"]) == ["files=['a,b.avi','c d.avi','e,f']"]
    assert as_typed(["files=x,y.avi"]) == ["files='x,y.avi'"]
    assert as_typed(["files=null", "labels=[a,b]"]) == ["files=null", "labels=[a,b]"]


@pytest.mark.parametrize("argument", ["hydra.run.dir=", "hydra.run.dir= ", "hydra.run.dir=''", "hydra.sweep.dir="])
def test_a_run_folder_without_a_name_is_refused(argument):
    with pytest.raises(AdvvidError, match="names no folder"):
        as_typed([argument])


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(AdvvidError, match="no text"):
        as_typed(["checkpoint=a\udcffb"])


def test_only_an_odd_folder_goes_past_hydra():
    assert odd_run_folder(["hydra.run.dir=a"]) is None
    assert odd_run_folder(["hydra.run.dir='${name}'"]) is None
    assert odd_run_folder(["hydra.run.dir=/a/${b}"]).as_posix() == "/a/${b}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a=[b],{c}", "${oc.env:HOME} #1", 'it\'s "a" ~b (1)', "漢字 😀 100%d", "-m", "a\\\nb"], ids=ascii
)
def test_a_folder_of_any_name_is_trained_in_resumed_evaluated_attacked_gathered_and_reported(name, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    for arguments in (
        [*QUICK, f"hydra.run.dir={name}"],
        [*QUICK, f"hydra.run.dir={name}", "resume=true"],
        [
            "mode=eval",
            f"checkpoint={name}",
            "tracker=none",
            "runtime=cpu",
            "suite=own",
            "evaluation.pictures=0",
            f"hydra.run.dir={name}/again",
        ],
        [
            "mode=attack",
            f"checkpoint={name}",
            "tracker=none",
            "runtime=cpu",
            f"hydra.run.dir={name}/films",
            "attack.steps=2",
            f"files={name}/clip.avi",
        ],
    ):
        if "mode=attack" in arguments:
            shutil.copy(next(iter(sorted(user_cache().rglob("*.avi")))), work / name / "clip.avi")
        said = run(arguments, work)
        assert said.status == 0, said.said
    for entry, arguments in (("advvid.gather", [f"./{name}"]), ("advvid.report.__main__", [f"./{name}"])):
        said = run(arguments, work, entry)
        assert said.status == 0, said.said
    assert [path.name for path in work.iterdir() if path.suffix not in (".html", ".md")] == [name]


def user_cache():
    from advvid.core.paths import cache_dir

    return cache_dir()
