"""With a part of the weights in each process, every defense trains as with all of them, or is refused."""

from dataclasses import replace

import pytest
import torch
from tiny_runs import NAMES, configured, run
from training_steps import metrics

from advvid.core.errors import AdvvidError
from advvid.distributed.runtime import Runtime
from advvid.experiment import run as advvid_run
from advvid.experiment.parts import build

# Adam would make much of what rounding leaves of a gradient that is zero.
SGD = ("schedule.optimizer._target_=torch.optim.SGD", "schedule.optimizer.lr=0.02")


def train_both_ways(fabric, processes, folder, names):
    """Train under every defense twice, and note how far the weights are apart; the work of one process of several."""
    for name in names:
        with_all = run(name, folder / name / "ddp", *SGD, fabric=fabric, processes=replace(processes, sharded=False))
        with_part = run(name, folder / name / "fsdp", *SGD, fabric=fabric, processes=processes)
        pairs = list(zip(with_all.plain.state_dict().values(), with_part.plain.state_dict().values(), strict=True))
        losses = [line["val_loss"] for line in metrics(folder / name / "fsdp")]
        note = {
            "apart": max(float((one.float() - other.float()).abs().max()) for one, other in pairs),
            "moved": abs(losses[1] - losses[0]),
        }
        torch.save(note, folder / f"{name}.{processes.rank}.pt")


@pytest.mark.slow
def test_parts_of_the_weights_train_every_defense_as_all_of_them(tmp_path):
    names = [name for name in NAMES if not build(configured(name), "pgd").defense.unsharded]
    Runtime(device="cpu", devices=2, strategy="fsdp", threads=1).launch(train_both_ways, tmp_path, names)
    for name in names:
        for rank in (0, 1):
            note = torch.load(tmp_path / f"{name}.{rank}.pt", weights_only=True)
            assert note["apart"] < 1e-4, name
            assert note["moved"] > 0, name


def test_other_weights_than_the_models_own_are_refused_before_any_work(tmp_path):
    cfg = configured("awp", "runtime=fsdp", "tracker=none", "name=refused")
    with pytest.raises(
        AdvvidError, match=r"cannot train defense=awp, which takes the gradient at other weights .* runtime=ddp"
    ):
        advvid_run.run(cfg, tmp_path, {"defense": "awp"})
    assert not list(tmp_path.iterdir())
