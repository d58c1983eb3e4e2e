"""Injection: examples made once, resumed after a kill, refused where they do not belong; what training sees of them."""

import json

import pytest
import torch
from torch import nn
from training_steps import metrics, same, split, step, trained

from advvid.attacks.deep_sava import DeepSAVA
from advvid.attacks.fgsm import FGSM
from advvid.attacks.pgd import PGD
from advvid.core import checkpoint, digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule
from advvid.data.memory_clips import MemoryClips
from advvid.defenses.examples import Examples, origin_of
from advvid.defenses.injection import Injection
from advvid.defenses.none import NoDefense
from advvid.distributed.runtime import Runtime
from advvid.tasks.classification import Classification
from advvid.tracking.trackers import NoTracker
from advvid.training.prerequisites import Prerequisites
from advvid.training.trainer import Trainer
from small_models import Small3D

SAVA = {"deep_sava": DeepSAVA(key_frame="first", steps=3)}
ONE = Schedule(epochs=1, batch_size=8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small3D(3)


def example_set(folder, model, attack=None, clips=None, seed=0):
    clips = clips or split(16, 0)
    return Examples(folder, clips, attack or SAVA["deep_sava"], seed, origin_of(model, clips))


def make(examples, model, count=8, batch_size=3):
    return examples.make(model, Classification(), count, batch_size)


def prerequisites(folder, attacks=SAVA, resume=False, clips=None):
    return Prerequisites(
        fabric=Runtime(device="cpu").fabric(),
        run_dir=folder,
        train_set=clips or split(16, 0),
        val_set=split(8, 1),
        attacks=attacks,
        seed=0,
        info={"classes": list("abc"), "config": {}},
        resume=resume,
    )


def run(folder, model, defense, attacks=SAVA, resume=False, dies_after=None, epochs=2):
    folder.mkdir(exist_ok=True)
    shop = prerequisites(folder, attacks, resume)
    defense.make_ready(model, shop)
    trainer = Trainer(
        fabric=shop.fabric,
        model=model,
        defense=defense,
        attacks=attacks,
        schedule=Schedule(epochs=epochs, batch_size=8, checkpoint_minutes=0.0),
        run_dir=folder,
        seed=0,
        tracker=NoTracker(),
        info=shop.info,
    )
    update, left = trainer._update, iter(range(99 if dies_after is None else dies_after))

    def dies(*args, **kwargs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(*args, **kwargs)

    trainer._update = dies
    return trainer.fit(shop.train_set, shop.val_set, resume=resume)


def test_what_is_read_is_what_the_attack_made(tmp_path, model):
    examples = example_set(tmp_path, model)
    make(examples, model)
    # One at a time, as no neighbour matters: the same clips, bit for bit but for the batch's rounding.
    alone = example_set(tmp_path / "alone", model)
    make(alone, model, batch_size=1)
    changed = 0
    for number in examples.chosen(8):
        clean = examples.clean(number)[0].float() / 255
        found = examples.read(number)
        torch.testing.assert_close(found, alone.read(number), rtol=0, atol=1e-5)
        assert torch.equal(found[:, 1:], clean[:, 1:])
        changed += int(not torch.equal(found[:, 0], clean[:, 0]))
    assert changed >= 4


def test_a_sparse_example_is_stored_as_its_frames(tmp_path, model):
    for name, attack, frames in (("one", SAVA["deep_sava"], 1), ("all", PGD(steps=2), 4)):
        examples = example_set(tmp_path / name, model, attack)
        make(examples, model, 6)
        saved = [torch.load(path, weights_only=True)["values"] for path in (tmp_path / name).glob("*.pt")]
        assert max(values.shape[1] for values in saved) == frames


def test_a_killed_generation_goes_on_where_it_was(tmp_path, model, monkeypatch):
    whole, cut = example_set(tmp_path / "whole", model), example_set(tmp_path / "cut", model)
    told = make(whole, model)
    write, left = checkpoint.save, iter(range(4))

    def dies(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        make(cut, model)
    monkeypatch.setattr(checkpoint, "save", write)
    assert len(list((tmp_path / "cut").glob("*.pt"))) == 4
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("*.pt")}
    next((tmp_path / "cut").glob("*.pt")).write_bytes(b"half a file")  # as a full disk leaves it
    assert make(cut, model) == told
    kept = [name for name, when in first.items() if (tmp_path / "cut" / name).stat().st_mtime_ns == when]
    assert len(kept) == 3
    for number in whole.chosen(8):
        torch.testing.assert_close(cut.read(number), whole.read(number), rtol=0, atol=1e-5)


def test_a_larger_set_begins_with_the_smaller_one(tmp_path, model):
    examples = example_set(tmp_path, model)
    make(examples, model, 4)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    make(examples, model, 10)
    assert len(list(tmp_path.glob("*.pt"))) == 10
    assert all((tmp_path / name).stat().st_mtime_ns == when for name, when in before.items())


def test_examples_of_something_else_are_refused(tmp_path, model):
    make(example_set(tmp_path, model), model, 2)
    clips = split(16, 0)
    other = MemoryClips(clips.videos, [(t + 1) % 3 for t in clips.targets], clips.ids, 4, 1, 1)
    videos = clips.videos.clone()
    videos[-1] += 1
    changed = MemoryClips(videos, clips.targets, clips.ids, 4, 1, 1)  # of the same names and labels
    for change, words in (
        ({"clips": changed}, "belong to other data"),
        ({"model": Small3D(3)}, "belong to another model"),
        ({"attack": PGD()}, "belong to another attack"),
        ({"clips": other}, "belong to other data"),
        ({"seed": 1}, "belong to another seed"),
    ):
        with pytest.raises(AdvvidError, match=words):
            make(example_set(tmp_path, **{"model": model, **change}), model, 2)


def test_examples_are_checked_when_they_are_read(tmp_path, model):
    attack = PGD(eps="4/255", steps=2)
    examples = example_set(tmp_path, model, attack)
    make(examples, model, 3)
    first, second, third = examples.chosen(3)
    saved = torch.load(tmp_path / f"{first:06d}.pt", weights_only=True)
    saved["values"] = (saved["values"] + 0.05).clamp(0, 1)
    torch.save(saved, tmp_path / f"{first:06d}.pt")
    for look in (lambda: examples.read(first), lambda: make(examples, model, 3)):
        with pytest.raises(AdvvidError, match=r"breaks its budget \(l-inf 4/255\)"):
            look()
    (tmp_path / f"{second:06d}.pt").unlink()
    with pytest.raises(AdvvidError, match="is missing or damaged"):
        examples.read(second)
    videos = examples.clips.videos.clone()
    videos[third] += 1
    moved = MemoryClips(videos, examples.clips.targets, examples.clips.ids, 4, 1, 1)
    with pytest.raises(AdvvidError, match="made of another clip than the data set now gives"):
        Examples(tmp_path, moved, attack, 0, examples.origin).read(third)
    copied = tmp_path / f"{third:06d}.pt"
    other = example_set(tmp_path / "other", model, PGD(eps="2/255", steps=2))
    make(other, model, 3)
    copied.write_bytes((tmp_path / "other" / copied.name).read_bytes())
    with pytest.raises(AdvvidError, match="made for something else"):
        examples.read(third)


class Seen(nn.Module):
    """Remembers the clips that it is given."""

    def __init__(self, net):
        super().__init__()
        self.net, self.given = net, []

    def forward(self, clips):
        self.given.append(clips.detach())
        return self.net(clips)


def ready(folder, model, **settings):
    defense = Injection(**{"ratio": "3/8", "classifier": "model", "inner_step_size": "own", **settings})
    defense.make_ready(model, prerequisites(folder))
    return defense


def test_an_epoch_holds_every_example_once(tmp_path, model):
    defense = ready(tmp_path, model)
    clips = split(16, 0)
    assert len(defense.numbers) == 6
    seen, passes = Seen(model), []
    for first in range(0, 16, 4):
        batch = Batch(
            clips.videos[first : first + 4, :, :4] / 255.0,
            torch.tensor(clips.targets[first : first + 4]),
            clips.ids[first : first + 4],
        )
        _, logs = defense.objective(seen, batch, SAVA, step())
        passes.append(float(logs["passes"]))
        assert len(logs["correct"]) == len(seen.given[-1])
    extra = torch.cat([given[4:] for given in seen.given])
    assert len(extra) == 6
    assert sum(passes) / 4 == pytest.approx(1 + 3 / 8)  # the cost that the documentation states
    known = {digests.of_array(defense.made.read(number)) for number in defense.numbers.values()}
    assert {digests.of_array(clip) for clip in extra} == known
    line = defense.end_epoch(SAVA, step(), lambda *_: 0.0)
    assert set(line) == {"clean_loss", "example_loss"}


def test_the_loss_is_the_mean_over_clips_and_examples(tmp_path, model):
    defense = ready(tmp_path, model, ratio=1)
    clips = split(16, 0)
    batch = Batch(clips.videos[:4, :, :4] / 255.0, torch.tensor(clips.targets[:4]), clips.ids[:4])
    loss, _ = defense.objective(model.eval(), batch, SAVA, step())
    task = Classification()
    made = torch.stack([defense.made.read(number) for number in range(4)])
    own, other = (task.loss(model(x), batch.target).mean() for x in (batch.inputs, made))
    torch.testing.assert_close(loss, (own + other) / 2)


def test_the_control_takes_clean_clips_in_their_place(tmp_path, model):
    defense = ready(tmp_path, model, examples="clean", classifier=None)
    assert not (tmp_path / "prerequisites").exists()
    number = next(iter(defense.numbers.values()))
    expected = defense.made.clean(number)[0].float() / 255
    assert torch.equal(defense._example(defense.made.clips.ids[number]), expected)


def test_without_examples_in_the_batch_it_is_plain_training(tmp_path, model):
    defense = ready(tmp_path, model)
    defense.numbers.clear()
    assert same(trained(NoDefense(), SAVA), trained(defense, SAVA))


def test_the_classifier_comes_first_and_the_model_begins_anew(tmp_path, model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    defense = Injection(ratio="1/4", classifier_schedule=ONE, inner_step_size="own")
    defense.make_ready(model, prerequisites(tmp_path))
    assert (tmp_path / "prerequisites" / "classifier" / "checkpoints" / "last.pt").is_file()
    assert len(list((tmp_path / "prerequisites" / "examples").glob("*.pt"))) == 4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert defense.prerequisite_passes > 16  # an epoch, and the examples' gradients
    classifier = torch.load(tmp_path / "prerequisites/classifier/checkpoints/last.pt", weights_only=True)["model"]
    other = Injection(ratio="1/4", classifier=str(tmp_path / "prerequisites/classifier"), start="classifier")
    other.make_ready(model, prerequisites(tmp_path / "second"))
    assert all(torch.equal(value, classifier[name]) for name, value in model.state_dict().items())


def test_interrupted_anywhere_equals_uninterrupted(tmp_path):
    def start(folder, **more):
        torch.manual_seed(0)
        defense = Injection(ratio="1/2", classifier_schedule=ONE, inner_steps=2, inner_step_size="own")
        return run(tmp_path / folder, Small3D(3), defense, **more)

    whole = start("whole")
    with pytest.raises(KeyboardInterrupt):
        start("cut", resume=True, dies_after=1)
    next((tmp_path / "cut/prerequisites/examples").glob("*.pt")).unlink()  # as if killed before, too
    resumed = start("cut", resume=True)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
    line = json.loads((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["examples"] == 8
    assert 0 <= line["examples_fooling"] <= 1
    assert line["passes"] == 16 * 1.5
    assert line["prerequisite_passes"] > 16
    assert line["budget"] == {"deep_sava": SAVA["deep_sava"].threat.budget}


def test_attacks_in_one_step_may_be_injected_too(tmp_path, model):
    """Goodfellow et al.'s own."""
    attacks = {"fgsm": FGSM()}
    line = run(tmp_path / "fgsm", model, Injection(classifier="model"), attacks, epochs=1)
    assert line is model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Injection(ratio=0), "ratio=0 is not possible"),
        (lambda: Injection(ratio="9000/8000"), "at most 1"),
        (lambda: Injection(examples="old"), "examples='old' is not known"),
        (lambda: Injection(start="late"), "start='late' is not known"),
        (lambda: Injection(batch_size=0), "batch_size=0 is not possible"),
        (lambda: Injection().check({"a": PGD(), "b": FGSM()}, 1), "trains against one attack but got 2"),
        (
            lambda: Injection().objective(
                Small3D(), Batch(torch.rand(1, 3, 4, 16, 16), torch.zeros(1).long(), ["a"]), SAVA, step()
            ),
            "examples made before",
        ),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()
