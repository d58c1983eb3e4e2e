"""What attacks are given and hand back: rows taken out, put back and merged; targets; other settings."""

import pytest
import torch

from advvid.attacks import FGSM, PGD, AttackResult, Problem, RandomNoise
from advvid.core.errors import AdvvidError


def generators(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


@pytest.fixture
def problem(small, clips, labels):
    return Problem(small, clips, labels, generators(6))


def result(values, aux=None):
    numbers = torch.tensor(values)
    return AttackResult(numbers.float().view(-1, 1, 1, 1, 1), numbers, 10 * numbers, aux or {})


def test_some_of_the_clips_keep_their_answers_and_generators(problem):
    aimed = problem.aimed(4)
    for index in (torch.tensor([4, 1]), torch.arange(6) % 2 == 1):
        part, places = aimed.select(index), index.nonzero()[:, 0] if index.dtype == torch.bool else index
        assert len(part) == len(places)
        assert torch.equal(part.clips, problem.clips[places])
        assert torch.equal(part.goal.labels, problem.labels[places])
        assert torch.equal(part.goal.targets, aimed.targets[places])
        assert part.generators == [problem.generators[i] for i in places.tolist()]


def test_targets_follow_the_rule_and_are_never_the_label(problem):
    assert problem.aimed(None).targets is None
    for rule in (0, "least_likely", "random"):
        assert (problem.aimed(rule).targets != problem.labels).all()
    given = problem.aimed(0)
    assert given.aimed("random") is given
    with pytest.raises(AdvvidError, match="targeted=5 is no class: the model knows 0 to 4"):
        problem.aimed(5)


def test_the_model_is_fooled_where_it_is_wrong_or_answers_the_target(problem):
    assert problem.fooled(problem.clips).tolist() == [False, False, True, False, False, False]
    answers = problem.model(problem.clips).argmax(dim=1)
    aimed = Problem(problem.model, problem.clips, problem.labels, problem.generators, answers)
    assert aimed.fooled(problem.clips).all()


def test_rows_are_put_back_where_they_came_from():
    whole = result([0, 1, 2, 3], {"mask": torch.arange(4)})
    index = torch.tensor([3, 1])
    assert whole.select(index).steps.tolist() == [3, 1]
    put = whole.put(index, result([7, 8], {"mask": torch.tensor([70, 80])}))
    assert put.x_adv.flatten().tolist() == put.steps.tolist() == [0, 8, 2, 7]
    assert put.gradient_calls.tolist() == [0, 80, 20, 70]
    assert put.aux["mask"].tolist() == [0, 80, 2, 70]


def test_merging_takes_the_better_clips_and_adds_up_the_cost():
    merged = result([1, 2]).merge(result([3, 4]), torch.tensor([False, True]))
    assert merged.steps.tolist() == [1, 4]
    assert merged.gradient_calls.tolist() == [40, 60]


def test_settings_that_an_attack_does_not_have_are_left_aside():
    assert PGD(eps=0.1).adjusted(early_exit=False, queries=3) == PGD(eps=0.1, early_exit=False)
    noise = RandomNoise()
    assert noise.adjusted(early_exit=False) is noise
    with pytest.raises(AdvvidError, match="steps"):
        FGSM().adjusted(steps=-1)
