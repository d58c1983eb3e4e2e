"""Attacks on features ``[B, T, F]`` with several labels per clip: closed forms, padding, and what cannot run."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from advvid.attacks.base import in_space
from advvid.attacks.carlini_wagner import CarliniWagner
from advvid.attacks.deep_fool import DeepFool
from advvid.attacks.fab import FAB
from advvid.attacks.fgsm import FGSM
from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.logits import likely_classes
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.config.catalogue import option_files, settings
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.features import FrameFeatures, valid_frames
from advvid.tasks.multi_label import MultiLabel

SPACE, TASK = FrameFeatures(sizes=(6, 2)), MultiLabel()


class Linear(nn.Module):
    """Logits linear in all frames; ``leaky``: those of padding too, so that only the threat keeps an attack away."""

    def __init__(self, leaky=False):
        super().__init__()
        self.leaky = leaky
        w = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0))
        self.w = nn.Parameter(w)

    def forward(self, x):
        x = x if self.leaky else x * valid_frames(x)[..., None]
        return torch.einsum("btf,ktf->bk", x, self.w)


@pytest.fixture
def labelled():
    model = Linear().eval()
    x = torch.rand(4, 4, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x[1, 2:] = 0
    with torch.no_grad():
        order = model(x).argsort(dim=1, descending=True)
    labels = torch.zeros(4, 5, dtype=torch.bool)
    labels.scatter_(1, order[:, :2], True)  # the two largest logits are labels
    labels[2] = False
    labels[2, order[2, 0]] = True
    return model, x, labels


def closed_form(model, x, labels):
    """The l2 distance to the nearest place where some other class equals every label: one constraint each is enough here."""
    logits = model(x)
    far = torch.full((len(x),), torch.inf)
    for i in range(len(x)):
        free = valid_frames(x[i : i + 1])[0, :, None]
        for other in range(5):
            if labels[i, other]:
                continue
            least = 0.0
            for label in labels[i].nonzero().flatten().tolist():
                gap = logits[i, label] - logits[i, other]
                least = max(least, float(gap / ((model.w[label] - model.w[other]) * free).norm()))
            far[i] = min(far[i], least)
    return far


def named(name, **options):
    node = OmegaConf.merge(settings(option_files("attack")[name]), options)
    return in_space(instantiate(node, _convert_="all"), SPACE)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=0.5, step_size=0.1, norm="l2"),
        PGD(eps=0.5, step_size=0.1, norm="l2_each"),
        FGSM(eps=0.1),
        RandomNoise(eps=0.5, norm="l2"),
        DeepFool(eps=0.5),
        CarliniWagner(eps=0.5, steps=30, step_size=0.1),
        FAB(eps=0.5, norm="l2", steps=5, restarts=2),
        FAB(eps=0.1, steps=5, targets=0),
    ],
    ids=lambda a: f"{type(a).__name__}-{a.norm if hasattr(a, 'norm') else 'linf'}",
)
@pytest.mark.parametrize("leaky", [False, True])
def test_attacks_stay_inside_and_leave_padding(labelled, attack, leaky):
    model, x, labels = labelled
    model.leaky = leaky
    attack = in_space(attack, SPACE)
    result = attack.run(model, x, labels, clip_generators(0, "c", "abcd"), task=TASK)
    assert attack.threat.contains(result.x_adv, x, result.aux).all()
    assert (result.x_adv[~valid_frames(x)] == 0).all()
    if attack.maximises and not leaky:
        with torch.no_grad():
            assert (TASK.loss(model(result.x_adv), labels) >= TASK.loss(model(x), labels) - 1e-4).all()
            assert TASK.margin(model(result.x_adv), labels).mean() < TASK.margin(model(x), labels).mean()


def test_deep_fool_finds_the_nearest_boundary_and_rho(labelled):
    model, x, labels = labelled
    x = x * 0.2  # far from the walls
    result = in_space(DeepFool(), SPACE).run(model, x, labels, task=TASK)
    with torch.no_grad():
        assert not TASK.correct(model(result.x_adv), labels).any()
        least = closed_form(model, x, labels)
    found = (result.x_adv - x).flatten(1).norm(dim=1)
    # A clip with one label has one boundary to each class: its way is the shortest there is.
    # Of the overshoot at most an eighth is left.
    assert float(least[2]) * 0.999 <= found[2] <= float(least[2]) * (1 + 0.02 / 8 + 1e-3)
    assert (found >= least * 0.999).all()
    torch.testing.assert_close(result.aux["rho"], found / x.flatten(1).norm(dim=1))


def test_the_one_step_of_a_art_is_the_scaled_gradient_of_each_stream(labelled):
    model, x, labels = labelled
    x = (x * 0.2).requires_grad_()
    (grad,) = torch.autograd.grad(TASK.loss(model(x), labels).sum(), x)
    grad, x = grad * valid_frames(x)[..., None], x.detach()
    attack = named("fgm", eps=0.05)
    assert attack.eps == 0.05
    step = attack.run(model, x, labels, task=TASK).x_adv - x
    expected = torch.cat(
        [0.05 * part / part.flatten(1).norm(dim=1)[:, None, None] for part in SPACE.parts(grad)], dim=2
    )
    right = TASK.correct(model(x), labels)
    torch.testing.assert_close(step[right], expected[right], atol=1e-6, rtol=1e-4)


def test_likely_classes_never_names_a_label():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    labels = torch.tensor([[True, True, True, False], [False, False, False, True]])
    assert likely_classes(logits, labels, 2).tolist() == [[3, 3], [2, 1]]


def test_what_needs_pixels_or_one_label_is_refused_in_words(labelled):
    model, x, labels = labelled
    with pytest.raises(AdvvidError, match=r"FrameBorder changes pixels of frames .* not inputs of shape 4 x 8"):
        in_space(FrameBorder(), SPACE).run(model, x, labels, task=TASK)
    with pytest.raises(AdvvidError, match="one label per clip"):
        in_space(PGD(eps=0.5, norm="l2", targeted="random"), SPACE).run(model, x, labels, task=TASK)
