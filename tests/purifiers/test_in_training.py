"""Training behind purifiers: every call of the model goes through them, and so does whatever is made of its checkpoint."""

import copy
import json

import pytest
import torch
from omegaconf import OmegaConf
from tests import small_training

import advvid
from advvid.config.catalogue import option_files
from advvid.config.composed import composed, composed_with_choices
from advvid.core import checkpoint, digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.base import Step
from advvid.experiment.parts import build, check_purified_training
from advvid.experiment.run import run
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.models.build import build_model
from advvid.purifiers import BitDepth, NoiseInjection, PurifiedModel
from advvid.purifiers.base import Purifier
from advvid.purifiers.in_training import TrainingFront

# One of each way to call a network: as it is, at other weights, on several attacks' clips, with its gradient kept; and refused ones.
QUICK = {"at", "awp", "avg", "free_at", "multibn", "gat"}
BEHIND = ("purify_training=true", "purifier=[bit_depth]")


class Even(Purifier):
    """Clips of one value, which nothing else puts out."""

    def purify(self, clips, generators):
        return clips * 0 + 0.5


def go(folder, *overrides):
    cfg = composed([*small_training.SMALL, "schedule.epochs=1", *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    run(cfg, folder, {"defense": "at", "attack": "pgd", "dataset": "motion"})
    return folder


def evaluated(source, folder, *words):
    """Score a run as the command line does."""
    given = with_saved_choices(
        ["mode=eval", f"checkpoint={source}", "tracker=none", "runtime=cpu", "suite=own", *words]
    )
    folder.mkdir()
    cfg, choices = adopt(*composed_with_choices(given), given)
    run(cfg, folder, choices)
    return json.loads((folder / "robustness.json").read_text())


def untimed(found):
    if isinstance(found, dict):
        return {key: untimed(value) for key, value in found.items() if key != "seconds"}
    return found


def weights(folder):
    return checkpoint.load(folder / "checkpoints" / "last.pt")["model"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return go(tmp_path_factory.mktemp("behind") / "run", *BEHIND)


def test_a_model_gets_purified_clips_and_keeps_its_weights_names(small, clips):
    plain, names = copy.deepcopy(small), list(small.state_dict())
    TrainingFront([BitDepth(bits=2)], seed=0, frames=4).put_before(small)
    assert torch.equal(small(clips), plain(BitDepth(bits=2)(clips)))
    assert torch.equal(copy.deepcopy(small)(clips), small(clips))  # such as the moving average of the weights
    assert list(small.state_dict()) == names
    wanting = clips.clone().requires_grad_()
    small(wanting).sum().backward()
    assert wanting.grad.abs().sum() > 0  # through the stand-in
    TrainingFront.take_away(small)
    assert torch.equal(small(clips), plain(clips))


def test_noise_is_drawn_anew_in_training_and_by_the_clip_in_validation(small, clips):
    front = TrainingFront([NoiseInjection()], seed=0, frames=4)
    drawn = []
    for training in (True, False):
        small.train(training)
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            drawn.append(front(small, (clips,))[0])
    again, other = (
        [torch.equal(drawn[i], drawn[i + 1]) for i in (0, 3)],
        [torch.equal(drawn[i], drawn[i + 2]) for i in (0, 3)],
    )
    assert (again, other) == ([True, True], [False, True])


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in option_files("defense")]
)
def test_every_defense_trains_behind_them_or_says_why_not(name):
    small = ["model.width=0.25", "attack.steps=1", *(() if name in ("art", "a_art") else ("defense.inner_steps=1",))]
    cfg = composed([f"defense={name}", *small, "mode=train"])
    parts = build(cfg, "pgd")
    if parts.defense.unpurified:
        with pytest.raises(AdvvidError, match=f"cannot train with .* {parts.defense.unpurified}"):
            check_purified_training(OmegaConf.create({"purify_training": True}), [Even()], parts.defense)
        return
    torch.manual_seed(0)
    clips = torch.rand(4, 3, 4, 16, 16)
    model = parts.defense.wrap(build_model(cfg.model, 3, clips.shape[1:])).train()
    TrainingFront([Even()], seed=0, frames=4).put_before(model)
    seen = []
    for part in model.children():
        part.register_forward_pre_hook(lambda _, given: seen.append(float(given[0].detach().std(dim=(2, 3, 4)).max())))
    batch = Batch(clips, torch.tensor([0, 1, 2, 0]), list("abcd"))
    parts.defense.objective(model, batch, parts.attacks, Step(0, 20, 0, 5, 0))
    assert seen
    assert max(seen) < 1e-6


def test_training_sees_the_purifiers(trained, tmp_path):
    """One that changes nothing leaves every bit; another gives other weights."""
    plain, same = weights(go(tmp_path / "plain")), weights(go(tmp_path / "same", BEHIND[0], "purifier=[identity]"))
    assert digests.of_tensors(plain) == digests.of_tensors(same)
    assert digests.of_tensors(plain) != digests.of_tensors(weights(trained))
    assert list(plain) == list(weights(trained))


def test_the_checkpoint_has_its_front_again(trained, tmp_path):
    told = json.loads((trained / "robustness.json").read_text())
    again = evaluated(trained, tmp_path / "again")
    assert again["config"]["purifier"] == told["config"]["purifier"]
    assert {name: score["access"] for name, score in again["attacks"].items()} == {"pgd": "adaptive"}
    for part in ("clean", "attacks", "extra", "union"):
        assert untimed(again[part]) == untimed(told[part])
    coarser = evaluated(trained, tmp_path / "coarser", "purifier.bit_depth.bits=1", "dataset.limit_test=4")
    assert coarser["config"]["purifier"]["bit_depth"]["bits"] == 1
    bare = evaluated(trained, tmp_path / "bare", "purifier=[]", "dataset.limit_test=4")
    assert bare["attacks"]["pgd"]["access"] == "white_box"


def test_python_gets_the_front_too(trained):
    loaded = advvid.load_run(trained)
    assert isinstance(loaded.model, PurifiedModel)
    assert not any(m._forward_pre_hooks for m in loaded.model.modules())
    loaded.dataset.prepare()
    table = advvid.evaluate(loaded.model, loaded.dataset, suite="own", batch_size=5)
    assert table["pgd"].acc == json.loads((trained / "robustness.json").read_text())["attacks"]["pgd"]["acc"]


def test_a_training_goes_on_behind_the_same_purifiers_only(trained, tmp_path):
    words = (*BEHIND, "mode=train", "schedule.kind=constant", "schedule.warmup=0")
    whole = go(tmp_path / "whole", *words, "schedule.epochs=2")
    go(tmp_path / "cut", *words)
    with pytest.raises(AdvvidError, match=r"purifier\.bit_depth\.bits was 4 and is now 3"):
        go(tmp_path / "cut", *words, "schedule.epochs=2", "resume=true", "purifier.bit_depth.bits=3")
    with pytest.raises(AdvvidError, match="purify_training was true and is now false"):
        go(
            tmp_path / "cut",
            "mode=train",
            "schedule.kind=constant",
            "schedule.warmup=0",
            "schedule.epochs=2",
            "resume=true",
        )
    resumed = go(tmp_path / "cut", *words, "schedule.epochs=2", "resume=true")
    assert digests.of_tensors(weights(whole)) == digests.of_tensors(weights(resumed))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["purify_training=true"], r"there are none: add purifier"),
        ([*BEHIND, "defense=multibn"], r"cannot train with MultiBN, which asks the branches"),
        (["mode=train", "purifier=[jpeg]"], r"purify_training=true to train behind it"),
        (["purify_training=maybe"], r"purify_training"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(words, told, tmp_path):
    with pytest.raises(AdvvidError, match=told):
        run(composed(["tracker=none", *words]), tmp_path, {"attack": "pgd", "defense": "at"})
    assert not list(tmp_path.iterdir())
