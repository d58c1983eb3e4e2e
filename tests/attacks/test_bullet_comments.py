"""Bullet-screen comments: nothing but the text is written, and its place is what fools."""

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.bullet_comments import BulletComments
from advvid.core.errors import AdvvidError
from advvid.threats.comments import Comments

THREAT = Comments(("hello", "good"), size=10, opacity=0.6, speed=10)
CLIPS = torch.rand(3, 3, 4, 40, 40, generator=torch.Generator().manual_seed(3)) * 0.9


def lines(seed=0):
    return THREAT.sample(CLIPS, generators(3, seed))


def test_text_is_within_its_set_with_and_without_its_places():
    aux = lines()
    x_adv = THREAT.random_start(CLIPS, generators(3), aux)
    assert THREAT.contains(x_adv, CLIPS, aux).all()
    assert THREAT.contains(x_adv, CLIPS).all()
    assert torch.equal(THREAT.project(x_adv, CLIPS, aux), x_adv)
    assert (x_adv >= CLIPS).all()
    assert ((THREAT.distance(x_adv, CLIPS) > 0) & (THREAT.distance(x_adv, CLIPS) < 0.3)).all()
    assert torch.equal(THREAT.written(CLIPS, THREAT.nothing(CLIPS)), CLIPS)


def test_what_is_no_such_text_is_told():
    aux = lines()
    x_adv = THREAT.random_start(CLIPS, generators(3), aux)
    assert not THREAT.contains(x_adv, CLIPS, lines(1)).any()  # other places
    assert not THREAT.contains(x_adv, CLIPS, {"lines": aux["lines"] + 1}).any()
    darker, coloured, opaque, everywhere = CLIPS.clone(), CLIPS.clone(), CLIPS.clone(), CLIPS.clone()
    darker[..., 5, 5] *= 0.5
    coloured[:, 0, :, 5, 5] = 1.0
    opaque[..., 5, 5] = 1.0
    everywhere += 0.1 * (1 - everywhere)
    for wrong in (darker, coloured, opaque, everywhere):
        assert not THREAT.contains(wrong, CLIPS).any()


def test_the_lines_run_to_the_left():
    mask = THREAT.cover(CLIPS, torch.tensor([[[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]]).expand(3, -1, -1))[0, 0]
    speed = round(10 * 40 / 112)
    torch.testing.assert_close(mask[1, :, :-speed], mask[0, :, speed:])
    assert mask[0].any()


def test_searched_places_fool_more_than_random_ones():
    model, clips, labels = (part[:8] if isinstance(part, torch.Tensor) else part for part in trained())
    attack = BulletComments(texts=["hello", "good"], queries=40, opacity=1.0)
    result = attack.run(model, clips, labels, generators(8))
    random = attack.threat.random_start(clips, generators(8))
    assert accuracy(model, result.x_adv, labels) < accuracy(model, random, labels)
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()
    assert (result.aux["queries"] <= 40).all()


def test_a_line_without_words_is_told():
    with pytest.raises(AdvvidError, match="an empty line or none"):
        Comments((" ",))
    with pytest.raises(AdvvidError, match="no part of white"):
        BulletComments(opacity=0)
