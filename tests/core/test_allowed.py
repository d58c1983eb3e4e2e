"""Declarations of settings: what they let through, what they refuse, and in which words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from advvid.config.instantiate import safe_instantiate
from advvid.core.allowed import check_fields, checked, fits, require
from advvid.core.describe import describe
from advvid.core.errors import AdvvidError
from advvid.core.examples import examples
from advvid.core.kinds import Count, FilePath, Number, Odd, Seed, Share, ShareNumber, Step, Whole
from advvid.core.numbers import parse_number

CASES = {
    Count: ([1, 2**31 - 1], [0, True, 1.0, "1", None, 2**31, 2**70, math.nan, [1], {"a": 1}]),
    Whole: ([0], [-1, False, "0"]),
    Seed: ([0, 2**32 - 1], [2**32, -1, 1.5, "abc"]),
    Share: ([0, 1, 0.5], [-1e-9, 1.001, math.nan, math.inf, "1/2", True]),
    ShareNumber: ([0, 1, "8/255", "0.5", " 1 / 2 "], ["9/8", "nan", "1e999999999", "1/0", "", "a", None]),
    Number: ([-3, "-1/2"], ["inf", True]),
    Step: ([0.1, "2/255", "optimal", "eps"], ["optimum", -0.1, "-1/255"]),
    FilePath: (["a=[b]", "two\nlines", "${x}"], ["", " ", "a\0b", 1, None]),
    str: (["two words", "ü"], ["", "two\nlines", 3]),
    bool: ([True, False], [0, 1, "true", None]),
    Literal["a", "b"]: (["a"], ["c", "", None, 1]),
    Literal[1, 3]: ([1, 3], [True, 1.0, 2]),
    Count | Literal["auto"] | None: ([2, "auto", None], [0, "all"]),
    Sequence[Share]: ([[], [0.5], (0, 1)], ["0.5", 0.5, [2], {"a": 1}]),
    Mapping[str, Count]: ([{}, {"a": 1}], [{"a": 0}, [1], 1]),
    tuple[Share, Share]: ([[0.5, 1], (0, 0)], [[0.5], [0.5, 2], 0.5]),
    Annotated[int, Ge(3), Odd()]: ([3, 5], [1, 4]),
    Callable[..., nn.Module]: ([nn.Identity], [1, None]),
    nn.Module: ([nn.Identity()], [nn.Identity, None, {}]),
}


@pytest.mark.parametrize("annotation", CASES, ids=str)
def test_what_is_allowed_and_what_is_not(annotation):
    valid, invalid = CASES[annotation]
    for value in valid:
        require(value, annotation, "x")
    for value in invalid:
        with pytest.raises(AdvvidError, match=r"^x\S*=.* is not (possible|known): choose ") as caught:
            require(value, annotation, "x")
        assert "\n" not in str(caught.value)


def test_a_sentence_names_the_innermost_place_and_what_is_possible():
    for value, annotation, said in (
        (0, Count, "x=0 is not possible: choose a whole number of at least 1"),
        ("c", Literal["a", "b"], "x='c' is not known: choose a or b"),
        ([1, -2], Sequence[Count] | None, "x[1]=-2 is not possible: choose a whole number of at least 1"),
        ({"k": "b"}, Mapping[str, Share], "x.k='b' is not possible: choose a number from 0 to 1"),
        (2, Annotated[float, Gt(0), Lt(1)], "x=2 is not possible: choose a number above 0 and below 1"),
        (None, bool, "x=None is not possible: choose true or false"),
    ):
        with pytest.raises(AdvvidError) as caught:
            require(value, annotation, "x")
        assert str(caught.value) == said
    assert describe(Whole | Literal["auto"] | None) == "a whole number of at least 0, or auto, or null"


def test_examples_are_what_they_claim():
    for annotation in CASES:
        valid, invalid = examples(annotation)
        assert all(fits(value, annotation) for value in valid)
        assert not any(fits(value, annotation) for value in invalid)
        assert len(invalid) >= 12
        if annotation not in (Callable[..., nn.Module], nn.Module):
            assert len(valid) >= 2, annotation


@dataclass(frozen=True)
class Base:
    steps: Count = 3

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Derived(Base):
    eps: ShareNumber = "8/255"


@checked
class Plain:
    def __init__(self, size: Count, rate: ShareNumber = "1/2") -> None:
        self.size, self.rate = size, rate


def test_classes_refuse_from_python_too_and_read_fractions():
    assert Derived().eps == 8 / 255
    assert replace(Derived(), eps="1/255").eps == 1 / 255
    assert Plain(2).rate == 0.5
    assert Plain(2, "1/4").rate == 0.25
    for make, said in (
        (lambda: Derived(steps=0), r"Derived\.steps=0"),
        (lambda: Derived(eps=2), r"Derived\.eps=2"),
        (lambda: Plain("2"), r"Plain\.size='2'"),
        (lambda: Plain(size=2, rate=math.nan), r"Plain\.rate=nan"),
    ):
        with pytest.raises(AdvvidError, match=said):
            make()
    with pytest.raises(TypeError, match="argument"):
        Plain(sizes=2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1),
        ("lr", 0),
        ("lr", math.inf),
        ("lr", "abc"),
        ("lr", True),
        ("betas", [0.9, 1.5]),
        ("betas", 0.9),
        ("eps", -1),
        ("weight_decay", math.nan),
        ("amsgrad", "yes"),
    ],
)
def test_optimisers_of_torch_are_held_to_their_ranges(option, value):
    node = {"_target_": "torch.optim.AdamW", "_partial_": True, option: value}
    with pytest.raises(AdvvidError, match=rf"^config\.{option}(\[1\])?="):
        safe_instantiate(node)


def test_an_optimiser_that_refuses_its_settings_does_so_before_any_work():
    node = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "nesterov": True}
    with pytest.raises(AdvvidError, match="Nesterov"):
        safe_instantiate(node)
    made = safe_instantiate({**node, "momentum": 0.9})
    assert isinstance(made([torch.nn.Parameter(torch.zeros(2))]), torch.optim.SGD)


def test_a_long_exponent_costs_nothing():
    for text in ("1e999999999", "-1e999999999", "1e-999999999"):
        if text == "1e-999999999":
            assert parse_number(text) == 0
        else:
            with pytest.raises(AdvvidError, match="finite"):
                parse_number(text)
