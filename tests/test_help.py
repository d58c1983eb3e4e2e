"""The help page tells what conf/ holds, at any width, and errors name the mistake and the way out."""

import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from advvid.cli.help import keys, print_help
from advvid.config.catalogue import groups
from advvid.config.explain import explain, no_option, refuse_bases
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.train import main

FILES = {
    "train.yaml": """\
defaults:
  - _self_
  - attack: pgd
  - defense: none
  - override hydra/job_logging: none
seed: 7  # of all random numbers
name: ${hydra:runtime.choices.defense}
root: ???
hydra:
  run:
    dir: out/${name}/${now:%Y}
""",
    "attack/pgd.yaml": "# Steps\n_target_: a.PGD\neps: 8/255  # in [0, 1]\nsteps: 20\nopt: {lr: 1}\n",
    "attack/border.yaml": "# At the border\n_target_: a.Border\nratio: 0.1\n",
    "defense/none.yaml": "# Nothing\n_target_: a.No\n",
    "defense/cat.yaml": "# Rising\n_target_: a.Cat\neps_to: 12/255\n",
    "attack/_base.yaml": "# Base\n_target_: a.Border\nwidth: 3  # of the border\n",
    "attack/thick.yaml": "# Thick\ndefaults: [_base]\nratio: 0.4\n",
    "purifier/jpeg.yaml": "# Compress\n_target_: a.Jpeg\n",
}


@pytest.fixture
def conf(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def page(conf, width=80):
    console = Console(record=True, width=width, file=open("/dev/null", "w"))  # noqa: SIM115
    print_help(console, conf)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 140])
def test_page_shows_every_option_of_the_project_and_fits(width):
    text = page(None, width)
    assert max(map(len, text.splitlines())) <= width
    for group, options in groups().items():
        assert re.search(rf"^{group}\b", text, re.MULTILINE)
        for option, description in options.items():
            assert re.search(rf"^  {option} +{re.escape(description.split()[0])}", text, re.MULTILINE)


def test_page_takes_defaults_and_comments_from_the_files(conf):
    text = page(conf, 100)
    assert re.search(r"  pgd +Steps \(default\)", text)
    assert re.search(r"  border +At the border *\n", text)
    assert re.search(r"  seed +7 +of all random numbers", text)
    assert re.search(r"  attack\.eps +8/255 +in \[0, 1\]", text)
    assert re.search(r"  name +<defense>", text)
    assert "out/<name>/<date_time>" in text
    assert "dataset.root" not in text  # no data set here has it


def test_page_of_an_empty_configuration(tmp_path):
    (tmp_path / "train.yaml").write_text("")
    assert "python -m advvid.train" in page(tmp_path)


def test_keys_are_plain_values_with_their_comments(conf):
    found = keys(conf / "attack/pgd.yaml")
    assert list(found) == ["eps", "steps", "opt"]
    assert (found["eps"].default, found["eps"].comment) == ("8/255", "in [0, 1]")
    inherited = keys(conf / "attack/thick.yaml")
    assert list(inherited) == ["width", "ratio"]
    assert inherited["width"].comment == "of the border"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["attack.epps=1"], "there is no key attack.epps: did you mean attack.eps?"),
        (["attack.opt.lrr=1"], "did you mean attack.opt.lr?"),
        (["attakc.eps=1"], "did you mean attack.eps?"),
        (["sead=1"], "did you mean seed?"),
        (["eps=1"], "did you mean attack.eps?"),
        (["attack=border", "attack.ratoi=1"], "did you mean attack.ratio?"),
        (["attack.ratio=1"], "the chosen attack has no ratio: choose attack=border or thick, or one of eps, steps"),
        (["attack.width=1"], "the chosen attack has no width: choose attack=thick, or one of eps, steps"),
        (["attack.zzz=1"], "attack has the keys eps, steps, opt"),
        (["attack.eps.x=1"], "attack.eps holds a value"),
        (["hydra.run.dirr=a"], "did you mean hydra.run.dir?"),
        (["attack=pdg"], "attack=pdg does not exist: did you mean pgd? (options: border, pgd, thick)"),
        (["attack=zzz"], "attack=zzz does not exist: choose from border, pgd, thick"),
        (["attack="], "attack= names no option: give attack=<name>, choose from border, pgd, thick"),
        (["+attack@suite.x=mim"], "attack=mim does not exist"),
        (["attak@suite.x=pgd"], "there is no group 'attak': did you mean attack?"),
        (["purifier=jpeg"], "purifier is not chosen by default: write +purifier=... to add it"),
        (["attack.eps"], "'attack.eps' is no setting: write KEY=VALUE"),
        (["attack.eps=[1,"], "'attack.eps=[1,' cannot be read"),
        (["attack.eps=1,2"], "attack.eps=1,2 gives several values: add -m"),
        (["+attack.eps=2"], "attack.eps exists already: leave out the +"),
        (["~attack.foo"], "attack.foo does not exist"),
        (["+attack=pgd"], "attack is chosen already"),
        (["attack.eps=${sed}"], "attack.eps refers to something that does not exist"),
        ([], "root has no value: give root=..."),
        (["hydra.verbose=a", "hydra.job.num=x"], "hydra.job.num: Value 'x' of type 'str' could not be converted"),
    ],
)
def test_mistakes_get_one_sentence_with_the_remedy(conf, overrides, sentence):
    def use():
        with initialize_config_dir(str(conf), version_base="1.3"):
            cfg = compose("train", overrides)
        OmegaConf.to_container(cfg.attack, resolve=True)
        return cfg.root

    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        use()
    said = explain(caught.value, conf)
    assert sentence in said
    assert "\n" not in said


def test_what_options_inherit_from_is_no_option(conf):
    assert "_base" not in page(conf)
    for word in ("attack=_base", "+attack@suite.x=_base", "attack=pgd,_base", "purifier=[jpeg,_x]"):
        with pytest.raises(AdvvidError, match=r"is no option, but what options inherit from: choose from"):
            refuse_bases(["-m", word], conf)
    refuse_bases(["attack=pgd", "attack.eps=_x", "name=_a", "hydra.run.dir=_runs", "attack"], conf)


@pytest.mark.parametrize(
    ("override", "right"),
    [("attack=pdg", "pgd"), ("attack.epps=1", "attack.eps"), ("defence=cat", "defense"), ("trakcer=none", "tracker")],
)
def test_mistakes_in_the_real_configuration(override, right):
    with pytest.raises(HydraException) as caught, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        compose("train", [override])
    assert f"did you mean {right}?" in explain(caught.value)


def test_our_own_sentence_comes_through_what_hydra_wraps_around_it():
    outer = HydraException("Error in call to target")
    outer.__cause__ = AdvvidError("attack.eps=-1 is not possible: choose at least 0")
    assert explain(outer) == "attack.eps=-1 is not possible: choose at least 0"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("attack=null", "attack=null names no option: give attack=<name>, choose from border, pgd, thick"),
        ("+attack@suite.x=1", "+attack@suite.x=1 names no option: give attack=<name>, choose from border, pgd, thick"),
    ],
)
def test_a_group_without_a_name_is_one_sentence(conf, override, sentence):
    arguments = ["-m", "seed=1", override]
    with (
        pytest.raises(ValueError, match="group override") as caught,
        initialize_config_dir(str(conf), version_base="1.3"),
    ):
        compose("train", arguments[1:])
    assert no_option(caught.value, arguments, conf) == sentence
    assert no_option(caught.value, ["attack=pgd,null"], conf).startswith("attack=pgd,null names no option")
    assert no_option(ValueError("a shape is wrong"), arguments, conf) is None


@pytest.mark.parametrize("line", ["advvid runtime=", "advvid train runtime="])
def test_completion_and_command_line_know_options_only(monkeypatch, capsys, line):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr("sys.argv", ["advvid", "-sc", "query=bash"])
    main()
    assert capsys.readouterr().out.split() == [f"runtime={name}" for name in ("auto", "cpu", "ddp", "fsdp", "gpu")]
    monkeypatch.setattr("sys.argv", ["advvid", "runtime=_runtime"])
    with pytest.raises(
        SystemExit, match="error: runtime=_runtime is no option, but what options inherit from: choose from auto"
    ):
        main()
