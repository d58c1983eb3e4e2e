"""ROA: the size of the square, where it is put, and what PGD makes of it."""

import pytest
import torch
from torch.nn import functional as F

from advvid.attacks.roa import ROA
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SEARCH = {"per_frame": False, "stride": 20}  # every third pixel of 16


@pytest.fixture
def planted():
    """A linear model that looks at one 9 x 9 square only, and clips that it answers by a small margin."""
    model = LinearModel((3, 4, 32, 32))
    seen = torch.zeros(32, 32)
    seen[12:21, 7:16] = 1
    model.w.data = 0.01 * model.w.data.sign() * seen
    clips = (0.5 + 0.1 * model.w.data.sign()).expand(2, -1, -1, -1, -1).clone()
    return model, clips, torch.zeros(2, dtype=torch.int64), seen.bool()


@pytest.mark.parametrize("search", ["exhaustive", "gradient"])
def test_the_search_finds_the_only_square_that_matters(planted, search):
    model, clips, labels, seen = planted
    attack = ROA(search=search, candidates=5, steps=1, per_frame=False)
    result = attack.run(model, clips, labels)
    assert torch.equal(result.aux["mask"], seen.expand(2, 1, 1, 32, 32))
    assert (model(result.x_adv).argmax(1) == 1).all()
    assert result.gradient_calls.tolist() == ([2, 2] if search == "gradient" else [1, 1])


def test_steps_reach_the_worst_case_inside_the_square(planted):
    model, clips, labels, seen = planted
    x_adv = ROA(search="exhaustive", early_exit=False, steps=4, per_frame=False)(model, clips, labels)
    expected = torch.where(seen, (model.w.detach() < 0).float(), clips)
    torch.testing.assert_close(x_adv, expected)


def test_the_exhaustive_place_is_the_worst_of_all(small, clips, labels):
    result = ROA(search="exhaustive", **SEARCH).at_start().run(small, clips, labels)
    with torch.no_grad():
        found = F.cross_entropy(small(result.x_adv), labels, reduction="none")
        best, fooled = torch.full((6,), -torch.inf), torch.zeros(6, dtype=torch.bool)
        for top in range(0, 13, 3):
            for left in range(0, 13, 3):
                grey = clips.clone()
                grey[..., top : top + 4, left : left + 4] = 0.5
                out = small(grey)
                best = torch.maximum(best, F.cross_entropy(out, labels, reduction="none"))
                fooled |= out.argmax(1) != labels
        assert torch.equal(small(result.x_adv).argmax(1) != labels, fooled)
    torch.testing.assert_close(found[~fooled], best[~fooled])


@pytest.mark.parametrize("several", [4, 25, 100])
@pytest.mark.parametrize("search", ["exhaustive", "gradient"])
def test_places_tried_together_give_the_clips_of_one_by_one(small, clips, labels, search, several):
    labels = torch.where(torch.arange(6) < 1, 1 - labels.clamp(max=1), labels)  # one clip leaves at once
    one, together = (
        ROA(search=search, candidates=11, queries_per_batch=number, **SEARCH).run(small, clips, labels)
        for number in (1, several)
    )
    assert torch.equal(one.x_adv, together.x_adv)
    assert torch.equal(one.aux["mask"], together.aux["mask"])
    assert torch.equal(one.gradient_calls, together.gradient_calls)


def test_all_places_as_candidates_make_the_searches_equal(small, clips, labels):
    both = [
        ROA(search=s, candidates=25, **SEARCH).at_start().run(small, clips, labels) for s in ("exhaustive", "gradient")
    ]
    right = (small(both[0].x_adv).argmax(1) == labels).nonzero().squeeze(1)
    assert torch.equal(both[0].aux["mask"][right], both[1].aux["mask"][right])
    assert torch.equal(*[small(r.x_adv).argmax(1) == labels for r in both])


def test_the_grid_reaches_the_last_place():
    tops, lefts = ROA(search="exhaustive", per_frame=False, stride=5).grid(112, 149)
    assert tops[-1] == 112 - 30
    assert lefts[-1] == 149 - 30
    assert tops[1] == 5


@pytest.mark.parametrize(("size", "side"), [(32, 9), (112, 30), (16, 4), (2, 1)])
def test_the_square_scales_with_the_frame(size, side):
    assert ROA().threat.pixels(size, size) == side


def test_the_square_moves_between_frames_only_where_asked(small, clips, labels):
    moving = ROA(steps=1).run(small, clips, labels)
    assert moving.aux["mask"].shape == (6, 1, 4, 16, 16)
    assert moving.aux["mask"].flatten(3).sum(3).eq(16).all()
    assert (moving.aux["mask"][:, :, 1:] != moving.aux["mask"][:, :, :-1]).flatten(1).any(1).all()
    still = ROA(steps=1, per_frame=False)
    assert not still.threat.contains(moving.x_adv, clips).all()
    assert ROA().threat.contains(still(small, clips, labels), clips).all()


def test_starts_at_grey(small, clips, labels):
    result = ROA().at_start().run(small, clips, labels)
    assert torch.equal(result.x_adv, torch.where(result.aux["mask"], 0.5, clips))


@pytest.mark.parametrize(
    "settings",
    [
        {"side": 0},
        {"search": "some"},
        {"search": "gradient"},
        {"stride": 0},
        {"fill": 2},
        {"search": "gradient", "per_frame": False, "restarts": 2},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(AdvvidError):
        ROA(**settings)
