"""The one command hands on to its subcommands, and says what it has."""

import subprocess
import sys

import pytest
from tests.command import run

from advvid.cli import main as cli


@pytest.fixture
def handed_on(monkeypatch):
    seen = []

    class Module:
        @staticmethod
        def main():
            seen.append(list(sys.argv))

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: seen.append(name) or Module)
    monkeypatch.setattr(sys, "argv", ["advvid"])
    return seen


@pytest.mark.parametrize(
    ("words", "module", "argv"),
    [
        (["train", "defense=cat"], "advvid.train", ["advvid train", "defense=cat"]),
        (["defense=cat", "attack=pgd"], "advvid.train", ["advvid train", "defense=cat", "attack=pgd"]),
        (["-m", "seed=0,1"], "advvid.train", ["advvid train", "-m", "seed=0,1"]),
        (["eval", "checkpoint=a"], "advvid.train", ["advvid eval", "mode=eval", "checkpoint=a"]),
        (["attack", "checkpoint=a"], "advvid.train", ["advvid attack", "mode=attack", "checkpoint=a"]),
        (["gather", "a", "--over", "seed"], "advvid.runs.gather", ["advvid gather", "a", "--over", "seed"]),
    ],
)
def test_words_are_handed_on(handed_on, words, module, argv):
    assert cli.main(words) == 0
    assert handed_on == [module, argv]


def test_every_command_can_be_imported_and_is_on_the_help_page():
    said = subprocess.run([sys.executable, "-m", "advvid", "--help"], capture_output=True, text=True, check=True).stdout
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in said
        __import__(command.module)


def test_an_unknown_command_is_told_in_one_sentence(capsys):
    assert cli.main(["trian"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no command 'trian'")
    assert said.count("\n") == 1


def complete(line, folder):
    """Return what bash would suggest behind a line, asked as the installed script asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMP_LINE", line)
        patch.setenv("COMP_POINT", str(len(line)))
        done = run(["-sc", "query=bash"], folder, "advvid.cli.main")
    assert done.status == 0, done.said
    return done.said.split()


def test_bash_completes_options_and_the_script_is_for_advvid_alone(tmp_path):
    words = [sys.executable, "-m", "advvid", "train", "-sc", "install=bash"]
    script = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert script.rstrip().endswith("-F hydra_bash_completion advvid")
    assert complete("advvid train attack=pg", tmp_path) == ["attack=pgd", "attack=pgd_l2"]
    assert complete("advvid eval attack.st", tmp_path) == ["attack.step_size=", "attack.steps="]


def test_the_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("advvid ")
