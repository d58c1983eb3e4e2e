"""``advvid.evaluate``: any network, any data, the same table as the command line's."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import advvid
from advvid.attacks import PGD, Universal
from advvid.core.errors import AdvvidError
from advvid.evaluation import cells
from advvid.purifiers import Grayscale, Jpeg, Resize, SmoothJpeg

ATTACKS = {"pgd_8": PGD(eps="8/255", steps=3), "pgd_2": PGD(eps="2/255", steps=3)}
N, K = 10, 4


class Net(nn.Module):
    """Ends in logits by its first half of classes; ``form`` says how it hands them over."""

    def __init__(self, form=lambda out: out):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(K))
        self.body(torch.zeros(1, 3, 4, 8, 8))
        self.form = form

    def forward(self, clips):
        return self.form(20 * self.body(clips))


@pytest.fixture(scope="module")
def clips():
    return torch.randint(0, 256, (N, 3, 4, 8, 8), generator=torch.Generator().manual_seed(1)).float() / 255


@pytest.fixture(scope="module")
def labels(clips):
    with torch.no_grad():
        found = Net()(clips).argmax(1)
    found[0] = (found[0] + 1) % K
    return found


@pytest.fixture(scope="module")
def expected(clips, labels):
    return numbers(advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS))


def numbers(table):
    return [
        (s["id"], s["label"], s["clean"], *((a["pred"], a["distance"]) for a in s["attacks"].values()))
        for s in table.samples
    ]


class Pairs(Dataset):
    def __init__(self, clips, labels, form=lambda clip, label, i: (clip, label)):
        self.clips, self.labels, self.form = clips, labels, form

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.form(self.clips[index], self.labels[index], index)


def test_a_known_network_gets_the_numbers_that_it_must(clips, labels, expected):
    table = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS)
    assert table.n == N
    assert table["clean"].acc == 0.9
    assert table["pgd_8"].acc <= table["pgd_2"].acc <= 0.9
    answers = [(s["label"], s["clean"], *(a["pred"] for a in s["attacks"].values())) for s in table.samples]
    assert table["union"].acc == sum(len(set(row)) == 1 for row in answers) / N
    assert numbers(table) == expected


@pytest.mark.parametrize(
    "form",
    [
        lambda c, y: TensorDataset(c, y),
        lambda c, y: DataLoader(TensorDataset(c, y), batch_size=3),
        lambda c, y: DataLoader(
            TensorDataset(c, y), batch_size=3, collate_fn=torch.utils.data.default_collate, num_workers=0
        ),
        lambda c, y: DataLoader(
            Pairs(c, y), batch_size=4, collate_fn=lambda items: tuple(map(torch.stack, zip(*items, strict=True)))
        ),
        lambda c, y: Pairs(c, y, lambda clip, label, i: {"video": clip, "label": label}),
        lambda c, y: Pairs(c, y, lambda clip, label, i: (clip, label, str(i))),
        lambda c, y: (c.double(), y.int()),
        lambda c, y: ((c * 255).round().to(torch.uint8), y.tolist()),
        lambda c, y: (c, nn.functional.one_hot(y, K)),
        lambda c, y: (c, nn.functional.one_hot(y, K).float()),
    ],
)
def test_whatever_holds_the_clips_the_numbers_are_the_same(form, clips, labels, expected):
    assert numbers(advvid.evaluate(Net(), form(clips, labels), attacks=ATTACKS)) == expected


def test_frames_before_channels_are_taken_with_a_network_for_them(clips, labels, expected):
    net = Net()
    forward = net.forward
    net.forward = lambda given: forward(given.transpose(1, 2))
    assert numbers(advvid.evaluate(net, (clips.transpose(1, 2), labels), attacks=ATTACKS)) == expected


def test_clips_and_calls_of_inference_mode_are_attacked_all_the_same(clips, labels, expected):
    net = Net()
    with torch.inference_mode():
        assert numbers(advvid.evaluate(net, (clips * 1.0, labels), attacks=ATTACKS)) == expected
        with pytest.raises(AdvvidError, match="make it outside"):
            advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS)


def test_an_object_with_logits_is_an_answer(clips, labels, expected):
    net = Net(lambda out: SimpleNamespace(logits=out))
    assert numbers(advvid.evaluate(net, (clips, labels), attacks=ATTACKS)) == expected


def test_the_network_is_given_back_as_it_was(clips, labels):
    net = Net().train()
    net.body[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    advvid.evaluate(net, (clips, labels), attacks=ATTACKS)
    assert net.training
    assert not net.body[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_a_second_call_computes_what_is_missing(clips, labels, tmp_path, monkeypatch):
    written = []
    write = cells.Cells.write
    monkeypatch.setattr(cells.Cells, "write", lambda *given: (written.append(given[1]), write(*given))[1])
    first = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, run_dir=tmp_path, batch_size=5)
    assert sorted(set(written)) == ["clean", "pgd_2", "pgd_8"]
    written.clear()
    again = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, run_dir=tmp_path, batch_size=5)
    assert not written
    assert numbers(again) == numbers(first)
    more = ATTACKS | {"pgd_1": PGD(eps="1/255", steps=3)}
    advvid.evaluate(Net(), (clips, labels), attacks=more, run_dir=tmp_path, batch_size=5)
    assert set(written) == {"pgd_1"}
    written.clear()
    moved = clips.clone()
    moved[7] = moved[7].flip(-1)
    advvid.evaluate(Net(), (moved, labels), attacks=ATTACKS, run_dir=tmp_path, batch_size=5)
    assert sorted(written) == ["clean", "pgd_2", "pgd_8"]  # the second batch of five alone
    assert (tmp_path / "robustness.md").is_file()


def test_purifiers_stand_in_front_and_the_attacker_sees_them(clips, labels):
    by_name = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, purifiers=["grayscale"])
    by_object = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, purifiers=[Grayscale()])
    assert numbers(by_name) == numbers(by_object)
    assert by_name["pgd_8"].access == "adaptive"
    assert "pgd_8@oblivious" in by_name.extra


def test_the_same_clips_are_scored_again_after_eight_bits(clips, labels):
    table = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, postprocess=["uint8"])
    assert table["clean@uint8"].acc == table["clean"].acc
    assert "pgd_8@uint8" in table.extra


def test_a_suite_that_learns_asks_for_clips_of_its_own(clips, labels):
    learns = {"universal": Universal(steps=2)}
    with pytest.raises(AdvvidError, match="give learning="):
        advvid.evaluate(Net(), (clips, labels), attacks=learns)
    table = advvid.evaluate(Net(), (clips, labels), attacks=learns, learning=(clips.flip(-1), labels))
    assert 0 <= table["universal"].acc <= 0.9


class Random(Pairs):
    def __getitem__(self, index):
        return torch.rand(3, 4, 8, 8), self.labels[index]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c, y: (c * 2 - 1, y), r"clip 0 has values from -1 to .*clips lie in \[0, 1\].*advvid.Normalised"),
        (lambda c, y: (c * float("nan"), y), "clip 0 holds NaN"),
        (lambda c, y: (c[:, :, :3], y), "may be read two ways: say layout='CTHW' or 'TCHW'"),
        (lambda c, y: (c.permute(0, 2, 3, 4, 1), y), r"clip.permute\(3, 0, 1, 2\)"),
        (lambda c, y: (c[0], y), "no batch of videos"),
        (lambda c, y: c, "labels are missing"),
        (lambda c, y: (c, y[:3]), "10 clips but 3 labels"),
        (lambda c, y: (c, y + 7), r"clip 0 of the test split has the label \d+, but the data set has 4 classes"),
        (lambda c, y: (c, torch.rand(N, K)), "are not one-hot: give its class number"),
        (lambda c, y: (c, y + 0.5), "give its class number"),
        (lambda c, y: (c, y, ["a"] * N), "the id a stands twice"),
        (lambda c, y: Random(c, y), "was read otherwise than before.*turn random cropping"),
        (lambda c, y: Pairs(c, y, lambda clip, label, i: {"pixels": clip}), "is a mapping of pixels: name its clip"),
        (lambda c, y: iter([(c, y)]), "cannot be read by number"),
        (lambda c, y: TensorDataset(c[:0], y[:0]), "the data are empty"),
    ],
)
def test_data_that_mean_nothing_are_refused_in_one_sentence(change, match, clips, labels):
    with pytest.raises(AdvvidError, match=match):
        advvid.evaluate(Net(), change(clips, labels), attacks=ATTACKS)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"model": lambda clips: clips}, "give a torch.nn.Module"),
        ({"model": Net(lambda out: (out, out))}, "puts out a tuple: wrap it in a module that returns its logits"),
        ({"model": Net(lambda out: out[..., None])}, r"puts out the shape \[1, 4, 1\] for a batch of one clip"),
        ({"model": Net(lambda out: out.squeeze(0))}, r"returns logits \[B, K\]"),
        ({"data": "/data/falls"}, r"is a path: give advvid.data.ClassFolders\(root='/data/falls'"),
        ({"model": Net(lambda out: out.softmax(1) * float("nan"))}, "is NaN"),
        ({"suite": "quik"}, "quick"),
        ({"attacks": {}}, "attacks is empty"),
        ({"attacks": {"pgd": "pgd"}}, "attacks holds str under pgd"),
        ({"purifiers": [3]}, "purifiers holds a int"),
        ({"postprocess": ["jpg"]}, "jpg"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_one_sentence(given, match, clips, labels):
    with pytest.raises(AdvvidError, match=match):
        advvid.evaluate(
            **{"model": Net(), "data": (clips, labels), **({} if "suite" in given else {"attacks": ATTACKS}), **given}
        )


def test_settings_without_a_name_are_told_how_to_be_written():
    with pytest.raises(TypeError, match=r"PGD takes its settings by name, as in PGD\(eps=0.03"):
        PGD(8 / 255)


def test_purifiers_stand_in_the_order_in_which_they_are_given(clips, labels):
    """Names and objects alike: what comes second sees what the first one made."""
    mixed = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, purifiers=[Resize(scale=0.75), "jpeg"])
    same = Jpeg(surrogate=SmoothJpeg())  # what stands for JPEG in conf/
    named = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, purifiers=[Resize(scale=0.75), same])
    turned = advvid.evaluate(Net(), (clips, labels), attacks=ATTACKS, purifiers=["jpeg", Resize(scale=0.75)])
    assert numbers(mixed) == numbers(named)
    assert mixed.identity["model"] == named.identity["model"] != turned.identity["model"]
