"""The universal generator: stronger than noise on clips it has not seen, at any offset; saved and restored."""

import pytest
import torch
from toy import accuracy, generators, gratings, trained

from advvid.attacks.perturbation_generator import PerturbationGenerator
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.universal import FittedUniversal, Universal
from advvid.attacks.universal_pgd import FittedUniversalPGD, UniversalPGD
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from small_models import LinearModel

EPS = 0.12


@pytest.fixture(scope="module")
def fitted():
    model, _, _ = trained()
    clips, labels = gratings(50, seed=7)
    batches = [Batch(clips, labels, [str(i) for i in range(50)])]
    attack = Universal(eps=EPS, steps=40, step_size=0.01)
    return attack.fit(model, batches, torch.Generator().manual_seed(0))


def test_beats_noise_on_unseen_clips(fitted):
    model, clips, labels = trained()
    noise = accuracy(model, RandomNoise(eps=EPS)(model, clips, labels, generators(len(clips))), labels)
    for seed in (0, 1):  # another noise and another offset for every clip
        result = fitted.run(model, clips, labels, generators(len(clips), seed))
        assert fitted.threat.contains(result.x_adv, clips, result.aux).all()
        assert accuracy(model, result.x_adv, labels) < noise - 0.25
    assert len(result.aux["begin"].unique()) == clips.shape[2]
    assert (result.gradient_calls == 0).all()


def test_the_generator_learns_by_adam_at_a_fresh_noise_and_offset_for_each_clip():
    """Two updates by the formula: up the mean over clips of log(1 - p_label) of the clip under a rolled perturbation."""
    model, clips, labels = trained()
    clips, labels = clips[:5], labels[:5]
    attack = Universal(eps=EPS, steps=2, patience=100, step_size=0.01)
    fitted = attack.fit(model, [Batch(clips, labels, list("abcde"))], torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=random)))
        network = PerturbationGenerator(clips.shape[1:], attack.latent, attack.width)
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(2):
        pattern = network(torch.stack([torch.randn(attack.latent, generator=random) for _ in clips]))
        begin = [int(torch.randint(clips.shape[2], (), generator=random)) for _ in clips]
        delta = torch.stack([p.roll(-b, dims=1) for p, b in zip(pattern, begin, strict=True)])
        log_p = model((clips + EPS * delta).clamp(0, 1)).log_softmax(dim=1)
        others = log_p[torch.arange(log_p.shape[1]) != labels[:, None]].view(5, -1)
        adam.zero_grad()
        (-others.logsumexp(dim=1).mean()).backward()
        adam.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(fitted.state_dict()[name], value, atol=2e-4, rtol=0)  # steps of 0.01


def test_state_is_restored(fitted, tmp_path):
    model, clips, labels = trained()
    again = FittedUniversal(source=fitted.source)
    again.load_state_dict(fitted.state_dict())
    expected = fitted(model, clips, labels, generators(len(clips)))
    assert torch.equal(again(model, clips, labels, generators(len(clips))), expected)
    path = tmp_path / "universal.pt"
    torch.save(fitted.state_dict(), path)
    from_file = Universal(eps=EPS, checkpoint=str(path))
    assert torch.equal(from_file(model, clips, labels, generators(len(clips))), expected)
    with pytest.raises(AdvvidError, match="latent=8"):
        Universal(eps=EPS, latent=8, checkpoint=str(path))(model, clips, labels)


def test_other_lengths_repeat_the_perturbation(fitted):
    model, clips, labels = trained()
    long = clips[:2].repeat(1, 1, 2, 1, 1) * 0.5 + 0.25  # away from the range's ends, where clamping would hide it
    result = fitted.run(model, long, labels[:2], generators(2))
    delta = result.x_adv - long
    torch.testing.assert_close(delta[:, :, :4], delta[:, :, 4:], atol=1e-6, rtol=0)


def test_generator_fills_any_shape():
    for shape in ((3, 1, 10, 14), (3, 5, 9, 9)):
        with torch.no_grad():
            assert PerturbationGenerator(shape)(torch.randn(2, 32)).shape == (2, *shape)


def test_misuse_is_told(fitted):
    model, clips, labels = trained()
    with pytest.raises(AdvvidError, match="no clip to learn"):
        Universal().fit(model, [], torch.Generator())
    with pytest.raises(AdvvidError, match="fitted to frames of 12 x 12"):
        fitted(model, clips[..., :8], labels)
    with pytest.raises(AdvvidError, match="fit it"):
        FittedUniversal(source=Universal())(model, clips, labels)
    with pytest.raises(AdvvidError, match="does not exist"):
        Universal(checkpoint="nowhere.pt")


@pytest.fixture(scope="module")
def stepped():
    model, _, _ = trained()
    clips, labels = gratings(50, seed=7)
    batches = [Batch(clips[i::5], labels[i::5], [str(n) for n in range(10)]) for i in range(5)]
    return UniversalPGD(eps=EPS, steps=40, step_size="4/255").fit(model, batches, torch.Generator().manual_seed(0))


def test_universal_pgd_beats_noise_on_unseen_clips_at_any_offset(stepped):
    model, clips, labels = trained()
    noise = accuracy(model, RandomNoise(eps=EPS)(model, clips, labels, generators(len(clips))), labels)
    for seed in (0, 1):
        result = stepped.run(model, clips, labels, generators(len(clips), seed))
        assert stepped.threat.contains(result.x_adv, clips, result.aux).all()
        assert accuracy(model, result.x_adv, labels) < noise - 0.25
    assert len(result.aux["begin"].unique()) == clips.shape[2]


def test_a_universal_step_follows_the_mean_gradient_of_the_batch():
    """On a linear model all clips of one class agree: after n steps every value stands at n times the step, cut at eps."""
    shape = (3, 2, 4, 4)
    model = LinearModel(shape)
    clips = 0.5 + 0.05 * torch.rand(6, *shape, generator=torch.Generator().manual_seed(3))
    labels = torch.zeros(6, dtype=torch.int64)
    batches = [Batch(clips, labels, list("abcdef"))]
    for steps in (2, 9):
        attack = UniversalPGD(eps=0.05, steps=steps, step_size=0.01, any_start=False)
        pattern = attack.fit(model, batches, torch.Generator()).state_dict()["pattern"]
        torch.testing.assert_close(pattern, -min(0.01 * steps, 0.05) * model.w.detach().sign())


def test_a_universal_pgd_state_is_restored_and_refused_where_it_does_not_fit(stepped):
    model, clips, labels = trained()
    again = FittedUniversalPGD(source=stepped.source)
    with pytest.raises(AdvvidError, match="has no pattern"):
        again(model, clips, labels)
    again.load_state_dict(stepped.state_dict())
    expected = stepped(model, clips, labels, generators(len(clips)))
    assert torch.equal(again(model, clips, labels, generators(len(clips))), expected)
    with pytest.raises(AdvvidError, match="fitted to frames of 12 x 12, the clips have 8 x 8"):
        again(model, clips[..., :8, :8], labels)
    with pytest.raises(AdvvidError, match="no clip to learn from"):
        stepped.source.fit(model, [], torch.Generator())
