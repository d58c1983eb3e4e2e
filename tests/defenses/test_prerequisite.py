"""Trainings within a training: killed anywhere they go on, finished they are kept, and nobody else's are taken over."""

import shutil
import types

import pytest
import torch
from tiny_runs import NAMES, run
from training_steps import metrics

from advvid.core import checkpoint, digests
from advvid.core.errors import AdvvidError
from advvid.training.trainer import Trainer

# What trains something else first, with the folders of it.
FIRST = {"injection": ["classifier"], "ape_gan": ["classifier"], "frozen_gan_at": ["classifier", "generator"]}
BEST = {
    "injection": ["defense.classifier_schedule.select=best"],
    "ape_gan": ["defense.classifier_schedule.select=best"],
    "frozen_gan_at": ["defense.generator_schedule.select=best", "defense.ape_gan.classifier_schedule.select=best"],
}


def counting(monkeypatch, dies_after=None):
    """Count the updates and saved states of all trainings; let the run die after so many."""
    done = types.SimpleNamespace(events=[])

    def counted(name, original):
        def counts(self, *args, **kwargs):
            if dies_after is not None and len(done.events) >= dies_after:
                raise KeyboardInterrupt
            done.events.append((name, self.run_dir.name))
            return original(self, *args, **kwargs)

        return counts

    for name in ("_update", "_save"):
        monkeypatch.setattr(Trainer, name, counted(name, getattr(Trainer, name)))
    return done


def everything(folder):
    """Return digests of all that a run left: weights, optimisers and states of every training, and its lines."""
    found = {}
    for path in sorted(folder.rglob("*.pt")):
        state = torch.load(path, weights_only=True)
        name = path.relative_to(folder).as_posix()
        found[name] = digests.of_values(leaves({k: v for k, v in state.items() if k != "config"}))
    lines = {path.parent.name: metrics(path.parent) for path in folder.rglob("metrics.jsonl") if path.parent != folder}
    return found, lines, metrics(folder)


def leaves(value):
    if isinstance(value, torch.Tensor):
        return digests.of_array(value)
    if isinstance(value, dict):
        return {str(k): leaves(v) for k, v in value.items() if k != "clips_per_s"}
    return [leaves(v) for v in value] if isinstance(value, list | tuple) else value


def killed_and_resumed(name, folder, after, *overrides):
    with pytest.MonkeyPatch.context() as patch:
        counting(patch, after)
        with pytest.raises(KeyboardInterrupt):
            run(name, folder, *overrides, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        done = counting(patch)
        run(name, folder, *overrides, resume=True)
    return done.events


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs without interruption, by name and options."""
    made = {}

    def once(name, *overrides):
        if (name, overrides) not in made:
            folder = tmp_path_factory.mktemp(name) / "whole"
            with pytest.MonkeyPatch.context() as patch:
                done = counting(patch)
                run(name, folder, *overrides)
            made[name, overrides] = folder, done.events
        return made[name, overrides]

    return once


def points(events, folders):
    """Return moments of a run: within each prerequisite, at its last save, and within, before and at the end of the run's."""
    found = {"first": 1, "last": len(events) - 1}
    for folder in folders:
        own = [i for i, (_, where) in enumerate(events) if where == folder]
        found |= {f"in {folder}": own[1], f"last save of {folder}": own[-1], f"after {folder}": own[-1] + 1}
    own = [i for i, (_, where) in enumerate(events) if where not in folders]
    return found | {"in the run": own[len(own) // 2]}


def test_injection_goes_on_wherever_it_is_killed(tmp_path, whole):
    folder, events = whole("injection")
    for moment, after in points(events, FIRST["injection"]).items():
        place = tmp_path / moment.replace(" ", "_")
        again = killed_and_resumed("injection", place, after)
        assert everything(place) == everything(folder), moment
        # What was finished is not trained again.
        if moment in ("after classifier", "in the run", "last"):
            assert not [event for event in again if event[1] == "classifier"], moment


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("best", [False, True], ids=["last", "best"])
@pytest.mark.parametrize("name", FIRST)
def test_every_defense_with_prerequisites_goes_on_wherever_it_is_killed(tmp_path, whole, name, best):
    options = BEST[name] if best else []
    folder, events = whole(name, *options)
    for after in range(1, len(events)):
        killed_and_resumed(name, tmp_path / str(after), after, *options)
        assert everything(tmp_path / str(after)) == everything(folder), (after, events[after])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIRST])
def test_every_defense_goes_on_in_the_middle_and_at_the_end(tmp_path, whole, name):
    folder, events = whole(name)
    for moment, after in points(events, []).items():
        place = tmp_path / moment.replace(" ", "_")
        killed_and_resumed(name, place, after)
        assert everything(place) == everything(folder), moment


def test_what_is_finished_is_left_alone(tmp_path, whole):
    folder, _ = whole("injection")
    shutil.copytree(folder, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.pt")}
    run("injection", tmp_path / "run", resume=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.pt")} == before
    assert everything(tmp_path / "run") == everything(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("defense.classifier_schedule.epochs=2", r"classifier_schedule\.epochs was 1 and is now 2"),
        (
            "defense.classifier_schedule.optimizer.lr=0.1",
            r"classifier_schedule\.optimizer\.lr was 0\.003 and is now 0\.1",
        ),
        ("defense.inner_steps=2", r"defense\.inner_steps was 1 and is now 2"),
        ("defense.attacks.deep_sava.steps=3", r"attack deep_sava\.steps was 2 and is now 3"),
        ("model.width=0.5", "the weights that the classifier begins with are others"),
    ],
)
def test_a_prerequisite_of_something_else_is_not_taken_over(tmp_path, whole, change, said):
    """As the run finds it that was killed before its own training began."""
    folder, _ = whole("injection")
    shutil.copytree(folder / "prerequisites", tmp_path / "prerequisites")
    with pytest.raises(AdvvidError, match=rf"prerequisites/classifier cannot go on with other settings: .*{said}"):
        run("injection", tmp_path, change, resume=True)
    weights = [checkpoint.load(f / "prerequisites/classifier/checkpoints/last.pt")["model"] for f in (tmp_path, folder)]
    assert digests.of_tensors(weights[0]) == digests.of_tensors(weights[1])
