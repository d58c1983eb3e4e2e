"""The training loop: exact resuming at any batch, averages, alarms."""

import json

import pytest
import torch
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule
from advvid.data.memory_clips import MemoryClips
from advvid.defenses.aat import AAT
from advvid.defenses.none import NoDefense
from advvid.distributed.runtime import Runtime
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer
from small_models import Small3D


def split(count, seed):
    """Clips whose brightest colour tells the class."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randint(0, 60, (count, 3, 5, 16, 16), generator=generator, dtype=torch.uint8)
    targets = torch.randint(3, (count,), generator=generator).tolist()
    for video, target in zip(videos, targets, strict=True):
        video[target] += 60
    return MemoryClips(videos, targets, [f"{seed}/{i}" for i in range(count)], frames=4, stride=1, shift=1)


TRAIN, VAL = split(40, 0), split(12, 1)


def trainer(folder, defense=None, precision="fp32", **settings):
    torch.manual_seed(0)
    settings = {"epochs": 3, "batch_size": 8, "checkpoint_minutes": 0.0, **settings}
    return Trainer(
        fabric=Runtime(device="cpu", precision=precision).fabric(),
        model=Small3D(3),
        defense=defense or AAT(budgets=[0, "4/255"], xi=1, inner_steps=2),
        attacks={"pgd": PGD()},
        schedule=Schedule(**settings),
        run_dir=folder,
        seed=0,
        tracker=NoTracker(),
        info={"classes": list("abc"), "config": {}},
    )


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "clips_per_s"} for row in rows]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "one_cycle"},
        {"kind": "cosine", "ema": 0.9, "accumulate": 2, "clip_norm": 1.0, "warmup": 0.3},
        {"kind": "plateau", "patience": 0},
        {"kind": "step", "milestones": [1, 2]},
    ],
    ids=lambda s: s["kind"],
)
def test_interrupted_at_any_batch_equals_uninterrupted(tmp_path, settings):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = trainer(tmp_path / "whole", **settings).fit(TRAIN, VAL)
    for after in (2, 4, 6):
        cut = trainer(tmp_path / "cut", **settings)
        update, left = cut._update, iter(range(after))

        def dies(*args, update=update, left=left, **kwargs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return update(*args, **kwargs)

        cut._update = dies
        with pytest.raises(KeyboardInterrupt):
            cut.fit(TRAIN, VAL, resume=True)
    resumed = trainer(tmp_path / "cut", **settings).fit(TRAIN, VAL, resume=True)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")
    assert len(lines(tmp_path / "cut")) == 3


def test_the_average_is_what_is_saved_and_scored(tmp_path):
    run = trainer(tmp_path, ema=0.9)
    scored = run.fit(TRAIN, VAL)
    assert scored is not run.model
    weights = checkpoint.weights(checkpoint.load(tmp_path / "checkpoints" / "last.pt"))
    assert all(torch.equal(weights[name], value) for name, value in scored.state_dict().items())
    assert not torch.equal(scored.head.weight, run.model.head.weight)


def test_training_learns_and_keeps_the_best(tmp_path):
    run = trainer(tmp_path, NoDefense(), epochs=8)
    run.fit(TRAIN, VAL)
    found = lines(tmp_path)
    assert found[-1]["val_acc"] >= 0.9
    assert found[-1]["loss"] < found[0]["loss"]
    best = checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    accuracies = [row["val_acc"] for row in found]
    assert best["epoch"] == max(i for i, a in enumerate(accuracies, 1) if a == max(accuracies))


def test_a_loss_that_is_no_number_stops_and_names_step_and_checkpoint(tmp_path):
    trainer(tmp_path, NoDefense(), epochs=1).fit(TRAIN, VAL)
    run = trainer(
        tmp_path, NoDefense(), epochs=3, optimizer=lambda p: torch.optim.SGD(p, lr=1e30), kind="constant", warmup=0.0
    )
    with pytest.raises(AdvvidError, match=r"the loss became (nan|inf) at epoch \d, step \d: .*last\.pt"):
        run.fit(TRAIN, VAL)
    checkpoint.load(tmp_path / "checkpoints" / "last.pt")


def test_low_precision_trains_and_leaves_fp32_weights(tmp_path):
    scored = trainer(tmp_path, epochs=1, precision="bf16").fit(TRAIN, VAL)
    assert {p.dtype for p in scored.parameters()} == {torch.float32}
    with pytest.raises(AdvvidError, match="fp16 needs a GPU"):
        trainer(tmp_path, precision="fp16")


def test_a_frozen_model_is_refused(tmp_path):
    with pytest.raises(AdvvidError, match="nothing to train"):
        Trainer(
            fabric=Runtime(device="cpu").fabric(),
            model=Small3D(3).requires_grad_(False),
            defense=NoDefense(),
            attacks={"pgd": PGD()},
            schedule=Schedule(),
            run_dir=tmp_path,
            seed=0,
            tracker=NoTracker(),
            info={},
        )


def test_running_out_of_memory_halves_and_trains_on(tmp_path, monkeypatch, caplog):
    """With no BatchNorm in the way, parts add up to the gradient of the whole batch."""

    class Plain(NoDefense):
        limit = 99

        def objective(self, model, batch, attacks, step):
            if len(batch) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().objective(model, batch, attacks, step)

    def trained(folder, limit):
        defense = Plain()
        defense.limit = limit
        made = trainer(folder, defense, epochs=1)
        made.model.body[1] = nn.Identity()
        return made.fit(TRAIN, VAL)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = trained(tmp_path / "a", 99), trained(tmp_path / "b", 3)
    assert "training goes on with 2 clips of a batch at once" in caplog.text
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    first, second = (lines(tmp_path / f)[0] for f in "ab")
    assert first["train_objective_acc"] == second["train_objective_acc"]
    with pytest.raises(torch.OutOfMemoryError):
        trained(tmp_path / "b", 0)


def test_a_run_goes_on_for_longer_only_where_its_rate_does_not_depend_on_the_length(tmp_path):
    def go(folder, epochs, **settings):
        folder.mkdir(exist_ok=True)
        return trainer(folder, NoDefense(), epochs=epochs, **settings).fit(TRAIN, VAL, resume=True)

    steady = {"kind": "constant", "warmup": 0.0}
    go(tmp_path / "a", 1, **steady)
    longer, whole = go(tmp_path / "a", 2, **steady), go(tmp_path / "b", 2, **steady)
    assert all(torch.equal(one, other) for one, other in zip(longer.parameters(), whole.parameters(), strict=True))
    go(tmp_path / "c", 1, kind="one_cycle")
    with pytest.raises(AdvvidError, match=r"schedule\.epochs was 1 and is now 2"):
        go(tmp_path / "c", 2, kind="one_cycle")


def test_what_is_validated_seldom_ends_with_the_same_weights(tmp_path):
    ends = {}
    for every in (1, 2):
        made = trainer(tmp_path / str(every), epochs=5, validate_every=every)
        ends[every] = made.fit(TRAIN, VAL).state_dict()
    often, seldom = lines(tmp_path / "1"), lines(tmp_path / "2")
    assert [row["epoch"] for row in seldom if "val_acc" in row] == [2, 4, 5]
    for first, second in zip(often, seldom, strict=True):
        assert second == {key: first[key] for key in second}
    assert all(torch.equal(ends[1][key], ends[2][key]) for key in ends[1])


@pytest.mark.parametrize(("updates", "accumulate"), [(2, 1), (7, 1), (3, 2)])
def test_epochs_counted_in_updates_see_the_same_batches_as_passes(tmp_path, monkeypatch, updates, accumulate):
    """A pass over the 40 clips has 5 batches of 8; epochs of other lengths walk over the same batches in the same order."""

    def seen(folder, **settings):
        made, batches = trainer(folder, NoDefense(), kind="constant", **settings), []
        add = made._add_gradient
        monkeypatch.setattr(
            made, "_add_gradient", lambda batch, step: (batches.append(tuple(batch.ids)), add(batch, step))
        )
        made.fit(TRAIN, VAL)
        return batches

    passes = seen(tmp_path / "passes", epochs=3)
    counted = seen(tmp_path / "updates", epochs=2, updates_per_epoch=updates, accumulate=accumulate)
    assert len(counted) == 2 * updates * accumulate
    assert counted == passes[: len(counted)]


def test_epochs_of_updates_go_on_after_a_kill_as_if_nothing_had_happened(tmp_path, monkeypatch):
    settings = {"kind": "plateau", "epochs": 3, "updates_per_epoch": 4}
    whole = trainer(tmp_path / "whole", **settings).fit(TRAIN, VAL).state_dict()
    killed = trainer(tmp_path / "killed", **settings)
    with monkeypatch.context() as patch:
        calls, update = [], killed._update

        def dies(*given):
            calls.append(1)
            if len(calls) == 7:
                raise KeyboardInterrupt
            return update(*given)

        patch.setattr(killed, "_update", dies)
        with pytest.raises(KeyboardInterrupt):
            killed.fit(TRAIN, VAL)
    again = trainer(tmp_path / "killed", **settings).fit(TRAIN, VAL, resume=True).state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_a_training_that_gets_no_better_ends_early_and_does_not_go_on(tmp_path, monkeypatch):
    qualities = iter([0.1, 0.3, 0.3, 0.2, 0.9])
    monkeypatch.setattr("advvid.training.validation.Watched.quality", lambda self, monitor: next(qualities))
    settings = {"kind": "constant", "epochs": 9, "stop_after": 2}
    trainer(tmp_path, NoDefense(), **settings).fit(TRAIN, VAL)
    assert [row["epoch"] for row in lines(tmp_path)] == [1, 2, 3, 4]  # better at 2; 3 and 4 are not
    trainer(tmp_path, NoDefense(), **settings).fit(TRAIN, VAL, resume=True)
    assert len(lines(tmp_path)) == 4
