"""Each check in words: when it is raised, what that means, what to do then."""

from __future__ import annotations

from dataclasses import dataclass

# Attacks may disagree on a few clips by luck of the start; more than this share of the clips is a sign.
LUCK = 0.02
# Accuracy that still falls by more than this when the steps double was not measured with enough steps.
CONVERGED = 0.02
# A budget from which on any clip can be turned into any other.
FULL_RANGE = 0.5
# An accuracy of 50% with an interval wider than this chooses between little: 92 clips make it narrower.
CHOICE = 0.2
# An accuracy whose interval reaches down to this is at the floor; up to one minus it, at the ceiling.
FLOOR = 0.01
# Outputs that move by more than this share of their range with the batch do not move by rounding alone.
BATCH = 0.01
# A share of clips without any gradient that no honest model has.
NO_GRADIENT = 0.01


@dataclass(frozen=True)
class Check:
    """One finding, raised or not.

    Args:
        name: short and stable.
        raised: whether a reader must be warned.
        message: the finding with its figures.
        condition: when it is raised.
        means: what a raised check means.
        remedy: what to do then.
    """

    name: str
    raised: bool
    message: str
    condition: str
    means: str
    remedy: str

    @property
    def sentence(self) -> str:
        """The finding, what it means and what to do, as a reader of the table sees it."""
        return "; ".join(filter(None, (self.message, self.means, self.remedy and f"remedy: {self.remedy}")))


def finding(name: str, raised: bool, message: str) -> Check:
    """Return a finding with the words of its rule."""
    return Check(name, raised, message, *RULES[name])


_SHORT = "its gradients are masked or its search is too short"
_DISTRUST = "do not trust the stronger attack's column; raise its steps, compare with auto_attack"
_BEATEN = f"it fools more than {LUCK:.0%} of the clips that the stronger attack does not"

# name: (raised if, what it means, what to do)
RULES = {
    "overlap": (
        "videos stand in two splits (dataset.allow_overlap=true)",
        "what was trained on, or chosen by, is scored: its accuracy tells nothing about other videos",
        "leave each video in one split",
    ),
    "untrained_class": (
        "a class has videos for testing and none for training",
        "the model cannot know the class: its videos count as wrong whatever the defense",
        "add videos of it to the training split, or leave it out of the lists",
    ),
    "resumed_elsewhere": (
        "training was resumed on another machine or with another version of a package",
        "its weights may differ in the last bits from those that one machine would have given",
        "train anew on one machine where bits matter",
    ),
    "probabilities": (
        "outputs lie in [0, 1] and sum to 1",
        "the model ends in a softmax: its gradients vanish where it is sure, and the attack's loss takes a second softmax",
        "return logits",
    ),
    "varying_outputs": (
        "two calls on the same clips differ by more than 1e-4",
        "the model is random: an attack on one draw does not hold for the next",
        "attack the expectation over draws (eot_pgd, auto_attack with version=rand)",
    ),
    "zero_gradients": (
        f"more than {NO_GRADIENT:.0%} of the clips have an input gradient of exactly zero",
        "gradient attacks have nothing to follow there: saturated or quantised outputs",
        "attack through a differentiable stand-in, with the DLR loss, or with square, which needs no gradient",
    ),
    "batch_dependent": (
        f"outputs differ by more than {BATCH:.0%} of their range when clips are scored alone or in another batch",
        "a clip's answer depends on its neighbours: a verdict near the border may be another one in another batch",
        "make the model treat each clip by itself: no statistics over a batch in evaluation mode",
    ),
    "chance": (
        "the interval of clean accuracy holds what always giving the most frequent answer yields, or lies below",
        "nothing says that the model has learned: its robust accuracies mean nothing either",
        "score more clips (dataset.limit_test), train longer, or choose the checkpoint of this data set",
    ),
    "small_validation": (
        f"an accuracy of 50% on the validation split has an interval wider than {CHOICE:.0%}",
        "a choice among models that differ by less is a draw of lots",
        "raise dataset.limit_val, or do without the choice (schedule.select=last)",
    ),
    "idle": (
        "an attack with a budget leaves every clip as it was",
        "the attack did nothing: its column repeats clean accuracy",
        "check its settings (steps, step size), and compare with pgd and random_noise",
    ),
    "loss_not_raised": (
        f"the mean loss under attack is more than {LUCK:.0%} below that of clean clips",
        "the attack helps the model: a wrong sign, wrong labels, or gradients that mislead",
        "compare with pgd and square; check the labels and the sign of the step",
    ),
    "loss_falls": (
        "more steps end at a lower mean loss on the clips that withstand both",
        "the search moves away from what it wants: its steps overshoot or its gradients mislead",
        "lower the step size, and compare with apgd and square",
    ),
    "more_steps": (
        f"accuracy rises by more than {LUCK:.0%} with more steps",
        "more steps make the attack weaker: its steps overshoot or its gradients mislead",
        "lower the step size, and compare with apgd and square",
    ),
    "converged": (
        f"doubling the steps lowers accuracy by more than {CONVERGED:.0%}",
        "the attack had not converged: the accuracy is an upper bound that more steps lower further",
        "raise the steps until accuracy stands still",
    ),
    "larger_budget": (
        f"accuracy rises by more than {LUCK:.0%} with the budget",
        "a larger budget makes the attack weaker, though it contains the smaller one",
        "check the step size at the larger budget; add restarts",
    ),
    "full_range": (
        f"a budget of at least {FULL_RANGE} leaves more than chance",
        "an adversary without limits must reach chance or below: the gradients are masked or the search is broken",
        "evaluate with square and with transfer from another model",
    ),
    "one_step": (_BEATEN, f"one step fools clips that many steps do not: {_SHORT}", _DISTRUST),
    "less_knowledge": (
        _BEATEN,
        f"an attack that knows less fools clips that the white-box one does not: {_SHORT}",
        _DISTRUST,
    ),
    "more_access": (_BEATEN, f"the attack with less access is stronger than the one with more: {_SHORT}", _DISTRUST),
}
