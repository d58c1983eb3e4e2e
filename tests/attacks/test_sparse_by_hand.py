"""Sparse attacks, DeepSAVA and their search for frames against short calculations of their own, with PyTorch's Adam and NumPy."""

import copy
import math

import numpy as np
import pytest
import torch
from toy import generators, trained

from advvid.attacks.deep_sava import DeepSAVA
from advvid.attacks.keyframe import Proposer
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.sparse import Sparse
from advvid.attacks.sparse_flickering import SparseFlickering

RATE, STEPS = 0.004, 5


@pytest.fixture(scope="module")
def toy():
    """A network, clips well inside [0, 1], on which nothing is clamped, and labels that few steps do not change."""
    model, clips, labels = trained()
    clips = 0.3 + 0.4 * clips
    with torch.no_grad():
        gaps = model(clips).topk(2).values
        sure = (model(clips).argmax(dim=1) == labels) & (gaps[:, 0] - gaps[:, 1] > gaps[:, 0].quantile(0.2))
    return model, clips[sure][:4], labels[sure][:4]


def log_other(model, clips, labels):
    """Log(1 - p) of the label, summed over the clips; in doubles, since p is next to 1."""
    out = copy.deepcopy(model).double()(clips.double())
    return (1 - out.softmax(dim=1).gather(1, labels[:, None])).log().sum()


def descend(variable, loss, steps=STEPS):
    """Adam on a loss of one variable."""
    variable = variable.double().requires_grad_()
    optimiser = torch.optim.Adam([variable], lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(variable).backward()
        optimiser.step()
    return variable.detach().float()


def on_first(clips, change):
    changed = clips.double()
    changed[:, :, :1] = clips[:, :, :1] + change
    return changed


def own_ssim(first, second):
    """SSIM of single frames ``[C, H, W]`` of 12 pixels: a Gaussian window of 11, where it lies inside."""
    first, second = first.double(), second.double()
    place = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(place**2) / (2 * 1.5**2))
    window = torch.outer(window, window) / window.sum() ** 2
    a, b = (x.unfold(1, 11, 1).unfold(2, 11, 1) for x in (first, second))

    def mean(x):
        return (x * window).sum(dim=(-1, -2))

    covered = mean(a * b) - mean(a) * mean(b)
    spread = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    light = (2 * mean(a) * mean(b) + 0.01**2) / (mean(a) ** 2 + mean(b) ** 2 + 0.01**2)
    return (light * (2 * covered + 0.03**2) / (spread + 0.03**2)).mean()


@pytest.mark.parametrize("weight", [1.0, 40.0])
def test_sparse_is_adam_on_the_weighted_l21_norm_less_the_log_of_the_other_answers(toy, weight):
    model, clips, labels = toy

    def loss(noise):
        square = noise.square().mean(dim=(1, 2, 3, 4))
        norm = torch.where(square > 0, square.clamp_min(1e-30).sqrt(), 0 * square).sum()
        return weight * norm - log_other(model, on_first(clips, noise), labels)

    expected = on_first(clips, descend(torch.zeros_like(clips[:, :, :1]), loss)).float()
    attack = Sparse(weight=weight, steps=STEPS, step_size=RATE, early_exit=False)
    found = attack.run(model, clips, labels, generators(len(clips))).x_adv
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)


def test_sparse_flickering_is_adam_on_an_offset_with_its_thickness_and_roughness(toy):
    model, clips, labels = toy

    def loss(offsets):
        whole = torch.zeros(clips.shape[:3], dtype=torch.float64)
        whole[:, :, 0] = offsets
        once = torch.roll(whole, 1, dims=2) - whole
        twice = torch.roll(whole, -1, dims=2) - 2 * whole + torch.roll(whole, 1, dims=2)
        penalty = sum(part.square().mean(dim=(1, 2)).sum() for part in (whole, once, twice)) / 2
        return 200 * penalty - log_other(model, on_first(clips, offsets[:, :, None, None, None]), labels)

    expected = descend(torch.zeros(len(clips), 3), loss)
    attack = SparseFlickering(weight=200, steps=STEPS, step_size=RATE, early_exit=False)
    found = attack.run(model, clips, labels, generators(len(clips))).aux["pattern"]
    torch.testing.assert_close(found[:, :, 0], expected, atol=3e-5, rtol=0)
    assert (found[:, :, 1:] == 0).all()


@pytest.mark.parametrize("weight", [1.0, 1.5, 60.0])
def test_deep_sava_by_noise_is_adam_on_the_weighted_ssim(toy, weight):
    model, clips, labels = toy

    def loss(noise):
        alike = sum(own_ssim((clips + noise)[i, :, 0], clips[i, :, 0]) for i in range(len(clips)))
        return weight * (len(clips) - alike) - log_other(model, on_first(clips, noise), labels)

    expected = on_first(clips, descend(torch.zeros_like(clips[:, :, :1]), loss)).float()
    attack = DeepSAVA(
        key_frame="first", change_by="noise", weight=weight, steps=STEPS, step_size=RATE, early_exit=False
    )
    found = attack.run(model, clips, labels, generators(len(clips))).x_adv
    # Where the gradient of a pixel is next to nothing, Adam's first step follows its rounding.
    assert ((found - expected).abs() < 3e-5).float().mean() > 0.99


def test_brute_force_is_the_best_of_the_searches_on_each_frame(toy):
    model, clips, labels = toy
    settings = {"change_by": "noise", "steps": 2, "step_size": RATE, "early_exit": False}
    rows = []
    for frame in range(clips.shape[2]):
        attack = DeepSAVA(key_frame="given", given=[frame], **settings)
        x_adv = attack.run(model, clips, labels, generators(len(clips))).x_adv
        with torch.no_grad():
            other = [log_other(model, x_adv[i : i + 1], labels[i : i + 1]) for i in range(len(clips))]
        rows.append([1 - own_ssim(x_adv[i, :, frame], clips[i, :, frame]) - other[i] for i in range(len(clips))])
    best = torch.tensor(rows).argmin(dim=0)
    found = DeepSAVA(key_frame="brute_force", **settings).run(model, clips, labels, generators(len(clips)))
    assert found.aux["frames"].float().argmax(dim=1).tolist() == best.tolist()


def test_budget_mode_ends_at_the_share_of_a_step_that_fits(toy):
    """With no penalty the search walks the path of Adam; it ends where the path leaves the ball."""
    model, clips, labels = toy
    budget = 2.4 * RATE

    def loss(noise):
        return -log_other(model, on_first(clips, noise), labels)

    path = [descend(torch.zeros_like(clips[:, :, :1]), loss, steps) for steps in range(5)]
    attack = Sparse(weight=0, steps=40, step_size=RATE, budget=budget, early_exit=False)
    found = attack.run(model, clips, labels, generators(len(clips))).x_adv - clips
    for i in range(len(clips)):
        far = [float(noise[i].square().mean().sqrt()) for noise in path]
        last = max(step for step in range(5) if far[step] <= budget)
        assert last < 4, "the path leaves the ball"
        shares = torch.linspace(0, 1, 20001)
        a, b = path[last][i].flatten().double(), path[last + 1][i].flatten().double()
        square = (a @ a + 2 * shares * (a @ (b - a)) + shares.square() * ((b - a) @ (b - a))) / len(a)
        share = float(shares[square.sqrt() <= budget].max())
        expected = path[last][i] + share * (path[last + 1][i] - path[last][i])
        torch.testing.assert_close(found[i, :, :1], expected, atol=3e-5, rtol=0)


def test_the_next_frame_has_the_largest_expected_improvement_of_a_gaussian_process():
    pytest.importorskip("bayes_opt")
    length = 24
    proposer = Proposer(length, 1, 1, torch.Generator().manual_seed(0))
    proposer.waiting = []
    tried = {0: 3.0, 5: 1.4, 9: 0.6, 15: 1.1, 20: 2.5}
    for frame, objective in tried.items():
        proposer.learn((frame,), objective)
    x, y = np.array(list(tried), dtype=float), -np.array(list(tried.values()))
    values = (y - y.mean()) / y.std()

    def kernel(a, b, scale):
        far = math.sqrt(5) * np.abs(a[:, None] - b[None]) / scale
        return (1 + far + far**2 / 3) * np.exp(-far)

    def likelihood(scale):
        lower = np.linalg.cholesky(kernel(x, x, scale) + 1e-6 * np.eye(len(x)))
        return -0.5 * np.square(np.linalg.solve(lower, values)).sum() - np.log(np.diag(lower)).sum()

    scale = max(np.linspace(1, 60, 600), key=likelihood)
    places = np.arange(length, dtype=float)
    across, gram = kernel(places, x, scale), kernel(x, x, scale) + 1e-6 * np.eye(len(x))
    mean = across @ np.linalg.solve(gram, values)
    spread = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", across, np.linalg.solve(gram, across.T).T), 1e-12))
    ahead = (mean - values.max()) / spread
    normal = np.exp(-(ahead**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in ahead])
    improvement = spread * (ahead * below + normal)
    improvement[list(tried)] = 0
    (frame,) = proposer.propose()
    assert improvement[frame] > 0.8 * improvement.max()
    assert (improvement > 0.8 * improvement.max()).sum() < 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_is_uniform_in_its_ball(norm):
    clips = torch.full((400, 1, 2, 2, 2), 0.5)
    eps = 0.1
    noise = RandomNoise(norm=norm, eps=eps)(torch.nn.Flatten(), clips, torch.zeros(400, dtype=torch.int64)) - clips
    # The share of a ball of d dimensions inside the part r of its radius is r^d; in a box each value counts by itself.
    parts = noise.abs().flatten() / eps if norm == "linf" else (noise.flatten(1).norm(dim=1) / eps) ** 8
    sorted_parts = parts.sort().values
    empirical = (torch.arange(len(parts)) + 0.5) / len(parts)
    assert (sorted_parts - empirical).abs().max() < 1.63 / math.sqrt(len(parts)), "Kolmogorov and Smirnov, 1%"
    assert (noise.flatten(1).mean(dim=0).abs() < 4 * eps / math.sqrt(3 * 400)).all()
