"""Values that an option may not have are refused in one sentence that names it, before any work is done."""

import re
from pathlib import Path

import pytest
from tests import bad_options
from tests.command import run

from advvid.config.command_line import PATHS
from advvid.config.instantiate import checked_plan, find_target
from advvid.core.allowed import hints_of
from advvid.core.errors import AdvvidError
from advvid.core.examples import examples
from advvid.core.kinds import Path as IsPath
from advvid.core.kinds import members
from advvid.core.libraries import declared
from advvid.core.paths import conf_dir

# Arguments that a network of another library takes as **kwargs: they follow the model's own options.
UNDECLARED = {"model_num_class", "head_num_classes", "head_activation", "spatial_size", "temporal_size", "num_classes"}


def targets():
    """The classes and builders that the files of conf/ make."""
    texts = (path.read_text() for path in conf_dir().rglob("*.yaml"))
    return sorted({name for text in texts for name in re.findall(r"_target_: ([\w.]+)", text)})


def refused(node):
    try:
        checked_plan(node)
    except AdvvidError as error:
        return str(error)
    return ""


def test_every_class_of_the_configuration_refuses_what_it_does_not_declare():
    ours = [name for name in targets() if name.startswith(("advvid.", "torch.optim."))]
    # What many classes inherit is tried once.
    every = {item: name for name in ours for item in declared(find_target(name, "x")).items()}
    tried = [
        (name, option, value)
        for (option, annotation), name in every.items()
        for number, value in enumerate(examples(annotation)[1])
        if number % 4 == len(option) % 4  # the slow test tries all
    ]
    for name, option, value in tried:
        said = re.compile(rf"config\.{option}\S*=.* is not (possible|known): choose [^\n]+")
        assert said.fullmatch(refused({"_target_": name, option: value})), (name, option, value)
    assert len(tried) > 2000


def test_every_class_of_ours_declares_all_that_it_takes():
    import inspect

    for name in targets():
        if name.startswith("advvid."):
            target = find_target(name, "x")
            assert set(inspect.signature(target).parameters) <= set(hints_of(target)), name


@pytest.mark.slow
def test_every_option_of_every_file_refuses_bad_values():
    seen, tried, missing = set(), 0, set()
    for option in bad_options.options():
        if option.annotation is None:
            missing.add(option.name.rpartition(".")[2])
        elif option.kind not in seen:
            seen.add(option.kind)
            for value in bad_options.bad_values(option):
                error = bad_options.refusal(option, value)
                assert error is not None, (option.name, value)
                assert bad_options.named(option, error), (option.name, value, str(error))
                tried += 1
    assert missing <= UNDECLARED
    assert len(seen) > 300
    assert tried > 10_000


def test_options_that_are_paths_are_taken_as_typed_and_no_others():
    inside = {
        (option, any(isinstance(rule, IsPath) for base, rules in _all(annotation) for rule in rules))
        for name in targets()
        for option, annotation in declared(find_target(name, "x")).items()
    }
    for option in {option for option, is_path in inside if is_path}:
        assert option in PATHS, option
    # A network or an optimiser of that name is a node, and never a text.
    nodes = {"generator", "surrogate", "classifier"}
    for option in {option for option, is_path in inside if not is_path} - nodes:
        assert option not in PATHS or option == "splits", option


def _all(annotation):
    for base, rules in members(annotation):
        yield base, rules
        for inner in getattr(base, "__args__", ()):
            yield from members(inner)


ISSUE = [
    "seed=-1",
    "seed=abc",
    "seed=1.5",
    "resume=maybe",
    "hydra.run.dir=",
    "schedule.optimizer.lr=inf",
    "schedule.optimizer.lr=nan",
    "schedule.optimizer.lr=-1",
    "schedule.clip_norm=-1",
    "evaluation.pictures=-1",
    "attack.steps=0",
    "runtime.threads=0",
    "schedule.micro_batch=0",
    "evaluation.batch_size=0",
    "evaluation.batch_size=-2",
    "evaluation.batch_size=abc",
    "schedule.epochs=1e30",
    "dataset.limit_train=true",
    "evaluation=5",
    "suite.include_attack=3",
    "schedule.optimizer.weight_decay=-1",
    "+schedule.optimizer.betas=[0.9,1.5]",
    "model.width=-1",
    "model.mean=[1,2]",
]


@pytest.mark.slow
@pytest.mark.parametrize("argument", ISSUE)
def test_the_command_line_says_one_sentence(argument, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    where = [] if argument.startswith("hydra.run.dir") else ["hydra.run.dir=run"]
    said = run(["tracker=none", "runtime=cpu", argument, *where], folder)
    one_sentence(said, argument.lstrip("+").split("=")[0].split("[")[0], folder)


@pytest.mark.slow
def test_a_sample_of_all_bad_options_at_the_command_line(tmp_path):
    # An analysis is asked for its checkpoint first.
    kinds = {o.kind: o for o in bad_options.options() if o.annotation is not None and o.group != "analysis"}
    every = [(option, value) for option in kinds.values() for value in bad_options.bad_values(option)]
    every = [(option, value) for option, value in every if not isinstance(value, dict)]  # Hydra merges these
    # Whatever is typed for a path is one.
    every = [(option, value) for option, value in every if "Path()" not in str(option.annotation)]
    step = len(every) // 60
    for number, (option, value) in enumerate(every[:: max(1, step)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        tracker = [] if option.group == "tracker" else ["tracker=none"]
        said = run([*tracker, *bad_options.command(option, value), "hydra.run.dir=run"], folder)
        one_sentence(said, option.name.split(".")[0], folder)


def one_sentence(said, name, folder: Path):
    assert said.status == 1, said
    assert "Traceback" not in said.said
    assert said.said.startswith("error: "), said.said
    assert name in said.said
    assert len(said.said.strip().splitlines()) == 1, said.said
    assert said.seconds < 5
    outside = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] != "run"]
    assert not outside
    assert not list(folder.rglob("*.pt"))
