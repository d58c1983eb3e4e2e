import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_run import context, network

from advvid.analyses.best_step import BestStep, fit
from advvid.analyses.loss_surface import LossSurface, spread
from advvid.analyses.step_losses import step_losses
from advvid.attacks.pgd import PGD
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError


def test_noted_losses_are_those_of_pgd_with_as_many_steps(tmp_path):
    model = network(1)
    ctx = context(tmp_path, model, batch_size=12)
    eps = 4 / 255
    losses = step_losses(ctx, eps, [eps / 4], [1, 3])
    batch = next(ctx.batches())
    attack = PGD(eps=eps, step_size=eps / 4, steps=3, early_exit=False, keep="last")
    generators = clip_generators(0, f"surface/{eps:.5f}", batch.ids)
    x_adv = attack.run(model, batch.inputs, batch.target, generators, task=ctx.task).x_adv
    with torch.no_grad():
        expected = ctx.task.loss(model(x_adv), batch.target)
    assert losses.shape == (12, 1, 2)
    assert losses[:, 0, 1] == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_second_run_reads_what_is_there_and_batches_do_not_matter(tmp_path, monkeypatch):
    ctx = context(tmp_path, network(1), batch_size=5)
    surface = LossSurface(eps="4/255", sizes=[0.1, 1], steps=[1, 2])
    first = surface.run(ctx)
    other = surface.run(context(tmp_path, network(1), batch_size=12))
    assert np.array(other["loss"]) == pytest.approx(np.array(first["loss"]), abs=1e-5)
    monkeypatch.setattr(torch.autograd, "grad", None)
    assert surface.run(ctx)["loss"] == first["loss"]


def test_shares_of_the_best_by_hand():
    losses = np.array([[1.0, 2.0, 4.0, 3.9], [1.0, 6.0, 4.0, 3.9]])
    found = spread(losses, [0.1, 0.2, 0.4, 0.8])
    assert found["largest_loss"]["mean"] == 4
    assert [row["mean"] for row in found["share_of_best"]] == pytest.approx([0.25, 1, 1, 0.975])
    assert found["share_of_best"][1]["ci95"] == [1, 1]  # of itself
    assert found["share_of_best"][0]["ci95"] == pytest.approx([1 / 6, 1 / 2])
    assert found["sizes_near_best"]["mean"] == 3
    assert found["sizes_near_best"]["ci95"] == [1, 3]  # one where the second clip is drawn twice


def test_the_line_is_found_where_the_best_steps_lie_on_one():
    sizes, budgets = [0.1, 0.2, 0.4], [2 / 255, 4 / 255, 8 / 255]
    losses = np.zeros((3, 6, 3))
    losses[:, :, 1] = 1 + np.arange(6)  # every clip wants 0.2 of the budget
    found = fit(losses, budgets, sizes)
    assert [row["step"] for row in found["rows"]] == pytest.approx([0.4, 0.8, 1.6])
    assert found["line"]["slope"] == pytest.approx(0.2)
    assert found["line"]["offset"] == pytest.approx(0, abs=1e-9)
    low, high = found["line"]["slope_ci95"]
    assert low < 0.2 < high
    for row, best in zip(found["rows"], (0.4, 0.8, 1.6), strict=True):  # between the neighbours 0.1 and 0.4 of 0.2
        low, high = row["ci95"]
        assert best / 2 <= low < 0.55 * best
        assert 1.9 * best < high <= 2 * best


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LossSurface(sizes=[]), r"LossSurface\.sizes=\[\] is not possible"),
        (lambda: LossSurface(steps=[0, 1]), r"LossSurface\.steps\[0\]=0 is not possible"),
        (lambda: BestStep(budgets=["4/255"]), "choose a list of at least 2"),
    ],
)
def test_grids_without_sense_are_refused(make, said):
    with pytest.raises(AdvvidError, match=said):
        make()
