"""Ablation: its bound by hand, every change of a tiny clip tried against it, and both beside an attack."""

import itertools

import pytest
import torch
from small_run import N, context, network
from torch import nn

from advvid.analyses.ablation import Ablation
from advvid.analyses.base import carry_out
from advvid.analyses.bounds import below_certificate, held
from advvid.analyses.tries import changed_places
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.attacks.sparse import Sparse
from advvid.core.errors import AdvvidError
from advvid.models.ablated import Blocks, Voted, margins, winner
from advvid.tracking.trackers import NoTracker

FEW = Sparse(weight=0.0, step_size=0.2, steps=2)
SQUARE = ROA(per_frame=False, steps=1)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("changed", [1, 2, 3])
def test_no_change_reaches_more_blocks_than_is_said_and_one_reaches_as_many(size, changed):
    blocks = Blocks(size=size)
    kept = blocks.kept((1, 3, 7, 1, 1))
    assert kept.sum(dim=1).tolist() == [size] * 7

    def most(sets):
        return max(int(kept[:, list(frames)].any(dim=1).sum()) for frames in sets)

    assert most(itertools.combinations(range(7), changed)) == blocks.touched(changed, 7, anywhere=True)
    runs = [range(first, first + changed) for first in range(8 - changed)]
    assert most(runs) == blocks.touched(changed, 7, anywhere=False)


def test_what_is_not_kept_is_grey():
    clips = torch.rand(2, 3, 4, 2, 5)
    kept = Blocks(size=2).kept(clips.shape)[[3, 0]]
    made = Blocks(size=2).ablate(clips, kept)
    assert torch.equal(made[0, :, [0, 3]], clips[0, :, [0, 3]])
    assert torch.equal(made[1, :, :2], clips[1, :, :2])
    assert (made[0, :, 1:3] == 0.5).all()
    columns = Blocks("columns", 1, fill=0.0)
    assert torch.equal(columns.ablate(clips, columns.kept(clips.shape)[4:])[..., 4], clips[..., 4])


def test_the_winner_and_its_margin_by_hand():
    votes = torch.tensor([[4, 4, 0], [3, 5, 0], [5, 3, 0], [0, 0, 8], [1, 3, 3]])
    assert winner(votes).tolist() == [0, 1, 0, 2, 1]
    # Against a lower class a tie is lost: two votes moved from 5 to 3 would already be enough with a third of them.
    assert margins(votes).tolist() == [0, 1, 2, 7, 0]


class Reader(nn.Module):
    """Three classes by a wavy function of the frames' levels, which a change of any frame may turn."""

    def forward(self, clips):
        level = clips.mean(dim=(1, 3, 4)) - 0.5
        mixed = level @ torch.randn(level.shape[1], 3, generator=torch.Generator().manual_seed(2))
        return torch.stack([2 * mixed.sin().sum(dim=1), (3 * mixed).cos().sum(dim=1), mixed.square().sum(dim=1)], dim=1)


@pytest.mark.parametrize("places", ["anywhere", "consecutive"])
@pytest.mark.parametrize("changed", [1, 2])
def test_no_change_of_frames_turns_a_proved_answer(places, changed):
    """All sets of frames and all combinations of six levels in them, on forty clips; where it proves nothing, some do."""
    frames, levels = 6, torch.linspace(0, 1, 6)
    voted, analysis = Voted(Reader(), Blocks(size=1)), Ablation(block=1, places=places)
    clips = torch.rand(40, 1, frames, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1, -1)
    sets = [s for s in itertools.combinations(range(frames), changed) if places == "anywhere" or s[-1] - s[0] < changed]
    values = torch.cartesian_prod(*[levels] * changed).view(-1, changed)
    votes = voted.votes(clips)
    proved = margins(votes) >= 2 * analysis.reached(changed, frames)
    turned = torch.zeros(40, dtype=torch.bool)
    for i, clip in enumerate(clips):
        tried = clip.repeat(len(sets), len(values), 1, 1, 1, 1)
        for row, places_of in zip(tried, sets, strict=True):
            row[:, :, list(places_of)] = values[:, None, :, None, None]
        turned[i] = (winner(voted.votes(tried.flatten(0, 1))) != winner(votes)[i]).any()
    assert proved.any()
    assert turned.any()
    assert not (proved & turned).any()


def test_an_attack_sees_the_vote_and_has_a_gradient():
    voted = Voted(Reader(), Blocks(size=2))
    clips = torch.rand(50, 3, 5, 1, 1, generator=torch.Generator().manual_seed(1)).requires_grad_()
    scores = voted(clips)
    assert torch.equal(scores.argmax(dim=1), winner(voted.votes(clips)))
    (grad,) = torch.autograd.grad(scores[:, 0].sum(), clips)
    assert (grad.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("settings", "largest"),
    [
        ({"changed": [1, 2], "attack": FEW}, 1),
        ({"changed": [1], "places": "consecutive", "block": 1, "attack": FEW}, 2),
        ({"keep": "columns", "changed": [3, 1], "attack": SQUARE, "block": 4}, 5),
    ],
)
def test_the_proved_share_lies_below_what_the_attack_leaves(tmp_path, settings, largest):
    analysis = Ablation(**settings)
    result = carry_out(analysis, context(tmp_path, network(1), "ablation"), NoTracker())
    assert (result["n"], result["largest"]) == (N, largest)
    assert [bound[result["over"]] for bound in result["bounds"]] == sorted(settings["changed"])
    assert all(bound["certified"]["acc"] <= bound["attacked"]["acc"] for bound in result["bounds"])
    assert result["tries"] > 0
    assert not result["checks"][0]["raised"]
    assert (tmp_path / "analysis" / "ablation.png").is_file()


def test_the_attack_has_the_size_of_the_bound():
    spread = Ablation().at(3, (3, 8, 16, 16))
    assert (spread.frames, spread.given) == (3, (0, 2, 5))
    assert Ablation(places="consecutive").at(3, (3, 8, 16, 16)).given == (0, 1, 2)
    for height, width in ((32, 32), (17, 40)):
        for side in range(1, 17):
            square = Ablation(keep="columns", attack=SQUARE).at(side, (3, 8, height, width))
            assert square.threat.pixels(height, width) == side


def test_an_attack_that_turns_a_proved_answer_is_told():
    clips = [
        {"id": "a", "answer": 1, "margin": 4, "attacked": [1, 0]},
        {"id": "b", "answer": 0, "margin": 1, "attacked": [1, 1]},
    ]
    assert list(held(clips, "margin", [4, 6])) == [("a", False)]
    clips[0]["attacked"] = [0, 1]
    check = below_certificate(held(clips, "margin", [4, 6]), "", "")
    assert check.raised
    assert "1 clips" in check.message


def test_what_proves_nothing_is_refused(tmp_path):
    with pytest.raises(AdvvidError, match="against changed frames"):
        Ablation(attack=PGD())
    with pytest.raises(AdvvidError, match="per_frame=false"):
        Ablation(keep="columns", attack=ROA())
    for settings, words in (({"block": 5}, "block=5 is not possible with 4 frames"), ({"changed": [5]}, "at most 4")):
        with pytest.raises(AdvvidError, match=words):
            Ablation(**settings).run(context(tmp_path, network(1), "ablation"))


@pytest.mark.parametrize(
    ("keep", "changed", "anywhere"), [("frames", 2, True), ("frames", 2, False), ("columns", 3, False)]
)
def test_tries_change_as_much_as_is_proved_and_no_more(keep, changed, anywhere):
    generator = torch.Generator().manual_seed(0)
    where = changed_places(keep, changed, anywhere, (3, 6, 7, 9), 200, generator).expand(-1, 1, 6, 7, 9)
    frames, rows, columns = (where[:, 0].any(dim=other).any(dim=first) for other, first in ((3, 2), (3, 1), (2, 1)))
    sizes = [int(part.sum(dim=1).unique()) for part in (frames, rows, columns)]
    assert sizes == ([6, 3, 3] if keep == "columns" else [2, 7, 9])
    spread = [row.nonzero().max() - row.nonzero().min() + 1 for row in frames]
    assert bool(max(spread) > changed) is (keep == "columns" or anywhere)


def test_tries_turn_no_proved_answer_and_others_where_nothing_is_proved():
    clips = torch.rand(10, 3, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    voted, analysis = Voted(Reader(), Blocks(size=1)), Ablation(block=1, tries=40, attack=FEW)
    votes = voted.votes(clips)
    answers, leads = winner(votes).tolist(), margins(votes).tolist()
    turned = 0
    for clip, answer, lead in zip(clips, answers, leads, strict=True):
        generator = torch.Generator().manual_seed(1)
        assert set(analysis._tried(voted, clip, answer, lead, generator)) <= {answer}
        turned += set(analysis._tried(voted, clip, answer, lead + 6, generator)) != {answer}
    assert turned > 0
