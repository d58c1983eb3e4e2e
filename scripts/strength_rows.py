"""What is compared: our attacks, and those of the peers at the same settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from advvid.attacks.apgd import APGD
from advvid.attacks.auto_attack import AutoAttack
from advvid.attacks.carlini_wagner import CarliniWagner
from advvid.attacks.ddn import DDN
from advvid.attacks.deep_fool import DeepFool
from advvid.attacks.eot_pgd import EOTPGD
from advvid.attacks.fab import FAB
from advvid.attacks.fgsm import FGSM
from advvid.attacks.flickering import Flickering
from advvid.attacks.fmn import FMN
from advvid.attacks.frame_saliency import FrameSaliency
from advvid.attacks.hop_skip_jump import HopSkipJump
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.attacks.sparse import Sparse
from advvid.attacks.square import Square
from advvid.attacks.transfer_fgsm import TransferFGSM
from peers import art, fb, grey, ta
from strength_cells import Row, Scale


# Tables: a row is a line or two.
# fmt: off
def fixed_rows(s: Scale) -> list[Row]:
    """Return the attacks that spend a given budget."""
    e, e2, steps = s.eps, s.eps_l2, s.steps
    step, step2 = e / 4, e2 / 4
    far, far2 = s.black * e, s.black * e2
    inf: dict[str, Any] = {"limit": e}
    two: dict[str, Any] = {"measure": "l2", "limit": e2}
    said, said2 = f"eps {grey(e)}", f"l2 {e2:g}"
    walk = f"{steps} steps of eps/4, no random start"
    return [
        Row("random_noise", RandomNoise(eps=e), (fb("LinfAdditiveUniformNoiseAttack", eps=e),), f"{said}, one draw", **inf),
        Row("fgsm", FGSM(eps=e), (
            ta("FGSM", eps=e), fb("LinfFastGradientAttack", random_start=False, eps=e),
            art("FastGradientMethod", eps=e, eps_step=e, batch_size=64),
        ), said, **inf),
        Row("fgsm_rs", FGSM(eps=e, random_start=True, step_size=1.25 * e), (ta("FFGSM", eps=e, alpha=1.25 * e),),
            f"{said}, random start, step 1.25 eps", **inf),
        Row("pgd", PGD(eps=e, step_size=step, steps=steps, random_start=False), (
            ta("PGD", eps=e, alpha=step, steps=steps, random_start=False),
            fb("LinfPGD", abs_stepsize=step, steps=steps, random_start=False, eps=e),
            art("ProjectedGradientDescent", eps=e, eps_step=step, max_iter=steps, batch_size=64, verbose=False),
        ), f"{said}, {walk}", **inf),
        Row("pgd_l2", PGD(norm="l2", eps=e2, step_size=step2, steps=steps, random_start=False), (
            ta("PGDL2", eps=e2, alpha=step2, steps=steps, random_start=False),
            fb("L2PGD", abs_stepsize=step2, steps=steps, random_start=False, eps=e2),
            art("ProjectedGradientDescent", norm=2, eps=e2, eps_step=step2, max_iter=steps, batch_size=64, verbose=False),
        ), f"{said2}, {walk}", **two),
        Row("mi_fgsm", MIFGSM(eps=e, step_size=step, steps=steps), (
            ta("MIFGSM", eps=e, alpha=step, steps=steps, decay=1.0),
            # On clips torchattacks averages the gradient over all axes but the width; as pictures over all.
            ta("MIFGSM", "tall", eps=e, alpha=step, steps=steps, decay=1.0),
            fb("LinfMomentumIterativeFastGradientMethod", abs_stepsize=step, steps=steps, eps=e),
            art("MomentumIterativeMethod", eps=e, eps_step=step, decay=1.0, max_iter=steps, batch_size=64, verbose=False),
        ), f"{said}, {walk}, momentum 1", **inf),
        Row("eot_pgd", EOTPGD(eps=e, step_size=step, steps=steps, samples=2, random_start=False), (
            ta("EOTPGD", eps=e, alpha=step, steps=steps, eot_iter=2, random_start=False),
        ), f"{said}, {walk}, 2 draws per gradient", **inf),
        Row("apgd", APGD(eps=e, steps=steps), (
            ta("APGD", eps=e, steps=steps, loss="ce"),
            art("AutoProjectedGradientDescent", eps=e, eps_step=2 * e, max_iter=steps, nb_random_init=1, batch_size=64,
                loss_type="cross_entropy", verbose=False),
        ), f"{said}, {steps} steps, cross-entropy", **inf),
        Row("apgd_dlr", APGD(eps=e, steps=steps, loss="dlr"), (
            ta("APGD", eps=e, steps=steps, loss="dlr"),
            art("AutoProjectedGradientDescent", eps=e, eps_step=2 * e, max_iter=steps, nb_random_init=1, batch_size=64,
                loss_type="difference_logits_ratio", verbose=False),
        ), f"{said}, {steps} steps, DLR", **inf),
        Row("apgd_l2", APGD(norm="l2", eps=e2, steps=steps), (
            ta("APGD", norm="L2", eps=e2, steps=steps, loss="ce"),
            art("AutoProjectedGradientDescent", norm=2, eps=e2, eps_step=2 * e2, max_iter=steps, nb_random_init=1,
                batch_size=64, loss_type="cross_entropy", verbose=False),
        ), f"{said2}, {steps} steps, cross-entropy", **two),
        Row("apgd_t", APGD(eps=e, steps=steps, loss="dlr", targets=s.targets), (
            ta("APGDT", eps=e, steps=steps, n_classes=s.targets + 1),
        ), f"{said}, {steps} steps for each of {s.targets} targets, DLR", **inf),
        Row("square", Square(eps=far, queries=s.queries), (
            ta("Square", eps=far, n_queries=s.queries), ta("Square", "channels", eps=far, n_queries=s.queries),
            art("SquareAttack", eps=far, max_iter=s.queries, batch_size=64, verbose=False),
            art("SquareAttack", "channels", eps=far, max_iter=s.queries, batch_size=64, verbose=False),
        ), f"eps {grey(far)}, {s.queries:,} queries", limit=far),
        Row("square_l2", Square(norm="l2", eps=far2, queries=s.queries), (
            ta("Square", norm="L2", eps=far2, n_queries=s.queries),
            ta("Square", "channels", norm="L2", eps=far2, n_queries=s.queries),
            art("SquareAttack", "channels", norm=2, eps=far2, max_iter=s.queries, batch_size=64, verbose=False),
        ), f"l2 {far2:g}, {s.queries:,} queries", measure="l2", limit=far2),
        Row("salt_and_pepper", SaltAndPepper(steps=steps), (fb("SaltAndPepperNoiseAttack", steps=steps, eps=None),),
            f"any colour, 100 pixels of a frame at 112 x 112, {steps} steps", measure="pixels of a frame",
            limit=float(SaltAndPepper().threat.number(s.side, s.side))),
    ]


def transfer_rows(s: Scale) -> list[Row]:
    """Return attacks that are made for other models, here on the model itself; those that draw at random are left out."""
    walk = {"eps": s.eps, "steps": s.steps}
    plain: dict[str, Any] = {**walk, "step_size": s.eps / 4, "diversity": 0, "smoothing": 0}
    theirs: dict[str, Any] = {**walk, "alpha": s.eps / 4, "decay": 1.0}
    said = f"eps {grey(s.eps)}, {s.steps} steps of eps/4, momentum 1"
    return [
        Row("ni_fgsm", TransferFGSM(scales=1, **plain), (ta("NIFGSM", "tall", **theirs),), said, limit=s.eps),
        Row("si_ni_fgsm", TransferFGSM(scales=5, **plain), (ta("SINIFGSM", "tall", m=5, **theirs),), f"{said}, 5 scales",
            limit=s.eps),
    ]


def minimal_rows(s: Scale) -> list[Row]:
    """Return the attacks that look for the smallest change; accuracy is at the budget."""
    e, e2, steps = s.eps, s.eps_l2, s.steps
    two: dict[str, Any] = {"measure": "l2", "limit": e2, "minimal": True}
    rate, constant = 0.01, 1.0
    fab: dict[str, Any] = {"steps": steps, "early_exit": False, "targets": 0, "eps": None}
    return [
        Row("deep_fool", DeepFool(steps=steps, classes=s.targets), (
            ta("DeepFool", steps=steps, overshoot=0.02),
            fb("L2DeepFoolAttack", steps=steps, candidates=s.targets + 1, overshoot=0.02, eps=None),
            art("DeepFool", max_iter=steps, epsilon=0.02, nb_grads=s.targets + 1, batch_size=64, verbose=False),
        ), f"{steps} steps, overshoot 0.02; accuracy at l2 {e2:g}", **two),
        Row("deep_fool_linf", DeepFool(norm="linf", steps=steps, classes=s.targets), (
            fb("LinfDeepFoolAttack", steps=steps, candidates=s.targets + 1, overshoot=0.02, eps=None),
        ), f"{steps} steps, overshoot 0.02; accuracy at {grey(e)}", limit=e, minimal=True),
        Row("carlini_wagner_one", CarliniWagner(searches=1, steps=steps, step_size=rate, constant=constant), (
            ta("CW", c=constant, kappa=0, steps=steps, lr=rate),
        ), f"one constant ({constant:g}), {steps} steps of Adam at {rate:g}; accuracy at l2 {e2:g}", **two),
        Row("carlini_wagner", CarliniWagner(searches=s.searches, steps=steps, step_size=rate, constant=constant), (
            fb("L2CarliniWagnerAttack", binary_search_steps=s.searches, steps=steps, stepsize=rate,
               initial_const=constant, eps=None),
        ), f"{s.searches} constants from {constant:g}, {steps} steps of Adam at {rate:g} each; accuracy at l2 {e2:g}", **two),
        # Each step of ART looks for its length in several more passes (counted: 12,100 for 10 clips against 4,900 of ours).
        *(() if s.small else (
            Row("carlini_wagner_long", CarliniWagner(searches=s.searches, steps=4 * steps, step_size=rate, constant=constant), (
                art("CarliniL2Method", binary_search_steps=s.searches, max_iter=steps, learning_rate=rate,
                    initial_const=constant, batch_size=64, verbose=False),
            ), f"at fewer passes: {4 * steps} of our steps, {steps} of ART's, which search the step size; accuracy at l2 {e2:g}", **two),
        )),
        Row("fab", FAB(norm="linf", **fab), (
            ta("FAB", norm="Linf", eps=1.0, steps=steps, n_classes=s.targets + 1),
        ), f"untargeted, {steps} steps; accuracy at {grey(e)}", limit=e, minimal=True),
        Row("fab_l2", FAB(norm="l2", **fab), (
            ta("FAB", norm="L2", eps=1e3, steps=steps, n_classes=s.targets + 1),
        ), f"untargeted, {steps} steps; accuracy at l2 {e2:g}", **two),
        Row("fab_t", FAB(eps=e, steps=steps, targets=s.targets), (
            ta("FAB", eps=e, steps=steps, multi_targeted=True, n_classes=s.targets + 1),
        ), f"eps {grey(e)}, {steps} steps for each of {s.targets} targets", limit=e),
    ]


def nearest_rows(s: Scale) -> list[Row]:
    """Return the attacks that shrink a ball around the clip, at equal gradients, and the one that sees labels, at equal queries."""
    n = 5 * s.steps
    rows = [
        Row("ddn", DDN(steps=n), (fb("DDNAttack", steps=n, init_epsilon=1.0, gamma=0.05, eps=None),),
            f"{n} steps; accuracy at l2 {s.eps_l2:g}", measure="l2", limit=s.eps_l2, minimal=True),
    ]
    for norm, name, first, measure, limit in (
        ("l2", "L2FMNAttack", 1.0, "l2", s.eps_l2), ("linf", "LInfFMNAttack", 10.0, "l-inf", s.eps),
        ("l1", "L1FMNAttack", 3.0, "l1", None), ("l0", "L0FMNAttack", 10.0, "values", None),
    ):
        theirs = fb(name, steps=n, max_stepsize=first, gamma=0.05, eps=None)
        rows.append(Row(f"fmn_{norm}", FMN(norm=norm, steps=n, step_size=first), (
            theirs, *([replace(theirs, projected=True)] if norm == "l2" else []),
        ), f"{n} steps, the first of l2 length {first:g}", measure=measure, limit=limit, minimal=True))
    one = replace(fb("DDNAttack", steps=n, init_epsilon=1.0, gamma=0.05, eps=None), layout="frame")
    # The default weight, that of DeepSAVA's table 3, leaves a change far beyond the boundary; one that grows holds it there.
    held = Sparse(frames=1, steps=n, early_exit=False, weight=20.0, growth=0.1, step_size=0.02)
    for name, sparse in (("sparse", Sparse(frames=1, steps=n, early_exit=False)), ("sparse_held", held)):
        said = f"the first frame, {n} steps of {sparse.step_size:g}, weight from {sparse.weight:g}, growth {sparse.growth:g}"
        rows.append(Row(name, sparse, (one,), said, measure="l2,1", minimal=True))
    if not s.small:
        # foolbox counts rounds; 16 of them ask about 5,000 times. It keeps all draws of a round in memory.
        rows.append(Row("hop_skip_jump", HopSkipJump(queries=5000), (
            replace(fb("HopSkipJumpAttack", steps=16, max_gradient_eval_steps=10_000, eps=None), batch=5),
        ), f"about 5,000 queries; accuracy at l2 {s.eps_l2:g}", measure="l2", limit=s.eps_l2, minimal=True))
    return rows


def other_rows(s: Scale) -> list[Row]:
    """Return the attacks that count frames or shift colours."""
    e, steps = s.eps, s.steps
    inner = {"eps": e, "eps_step": e / 4, "max_iter": steps, "batch_size": 64}
    mine: dict[str, Any] = {"eps": e, "step_size": e / 4, "steps": steps}
    said = f"eps {grey(e)} in whole frames, {steps} steps of eps/4"
    rows = [
        Row("frame_saliency_one_shot", FrameSaliency(method="one_shot", **mine), (
            art("FrameSaliencyAttack", method="one_shot", frame_index=2, inner=inner, verbose=False),
        ), said, limit=e),
        Row("frame_saliency", FrameSaliency(method="iterative", **mine), (
            art("FrameSaliencyAttack", method="iterative_saliency", frame_index=2, inner=inner, batch_size=64, verbose=False),
        ), said, measure="frames", eps=e, minimal=True),
    ]
    if s.small:
        return rows
    refresh: dict[str, Any] = {
        "method": "iterative_saliency_refresh", "frame_index": 2, "inner": inner, "verbose": False
    }
    return [
        *rows,
        Row("frame_saliency_refresh", FrameSaliency(method="iterative_refresh", **mine), (
            art("FrameSaliencyAttack", batch_size=64, **refresh), art("FrameSaliencyAttack", batch=1, **refresh),
        ), said, measure="frames", eps=e, minimal=True),
        Row("flickering", Flickering(steps=steps, step_size=0.02, keep="last", early_exit=False), (
            art("OverTheAirFlickeringPyTorch", "last", eps_step=0.02, max_iter=steps, beta_0=1.0, beta_1=0.1, beta_2=0.9,
                loss_margin=0.05, batch_size=64, verbose=False),
        ), f"{steps} signed steps of 0.02, betas 1, .1, .9, last iterate", measure="mean change"),
    ]


def ensemble_rows(s: Scale) -> list[Row]:
    """Return AutoAttack with the members and the work of each library, steps and queries being equal."""
    e, e2 = s.eps, s.eps_l2
    work = {"steps": s.steps, "n_queries": s.queries}
    apgd: dict[str, Any] = {
        "eps_step": 2 * e,
        "eps": e,
        "max_iter": s.steps,
        "nb_random_init": 1,
        "batch_size": 64,
        "verbose": False,
    }
    members = [
        ("AutoProjectedGradientDescent", {**apgd, "loss_type": "cross_entropy"}),
        ("AutoProjectedGradientDescent", {**apgd, "loss_type": "difference_logits_ratio"}),
        ("DeepFool", {"max_iter": s.steps, "epsilon": 1e-3, "nb_grads": s.targets + 1, "batch_size": 64, "verbose": False}),
        ("SquareAttack", {"eps": e, "max_iter": s.queries, "batch_size": 64, "verbose": False}),
    ]
    said = f"standard, {s.steps} steps, {s.targets} targets, {s.queries:,} queries"
    ours: dict[str, Any] = {"steps": s.steps, "targets": s.targets, "queries": s.queries}
    classes = s.targets + 1
    rows = [
        Row("auto_attack", AutoAttack(eps=e, **ours), (
            ta("AutoAttack", eps=e, n_classes=classes, seed=0, members=work),
            ta("AutoAttack", "channels", eps=e, n_classes=classes, seed=0, members=work),
            *(() if s.small else (
                art("AutoAttack", "channels", norm=np.inf, eps=e, eps_step=2 * e, batch_size=64, attacks=members),)),
        ), f"eps {grey(e)}, {said}", limit=e),
        Row("auto_attack_l2", AutoAttack(norm="l2", eps=e2, **ours), (
            ta("AutoAttack", norm="L2", eps=e2, n_classes=classes, seed=0, members=work),
            ta("AutoAttack", "channels", norm="L2", eps=e2, n_classes=classes, seed=0, members=work),
        ), f"l2 {e2:g}, {said}", measure="l2", limit=e2),
    ]
    return rows[:1] if s.small else rows


def own_rows(s: Scale, full: AutoAttack) -> list[Row]:
    """Return what our attacks owe each other: AutoAttack beats PGD of 100 steps, Square beats noise.

    Args:
        s: budgets and work.
        full: AutoAttack at the scale that the model allows; its eps is replaced.
    """
    rows = [
        Row(f"auto_attack at {grey(eps)}", replace(full, eps=eps), (PGD(eps=eps, steps=100),),
            f"{'; '.join(full.notes(s.targets + 1)) or 'standard'}; PGD: 100 steps, random start", limit=eps)
        for eps in sorted({s.eps, 8 / 255})
    ]
    if s.small:
        return rows
    eps, queries = 8 / 255, 5000
    square = Square(eps=eps, queries=queries)
    return [*rows, Row(f"square at {grey(eps)}", square, (RandomNoise(eps=eps),), f"{queries:,} queries", limit=eps)]


def all_rows(s: Scale, full: AutoAttack, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a model; ``only`` names some of them."""
    rows = [*fixed_rows(s), *transfer_rows(s), *minimal_rows(s), *nearest_rows(s), *other_rows(s), *ensemble_rows(s), *own_rows(s, full)]
    unknown = sorted(set(only) - {row.name for row in rows})
    if unknown:
        raise SystemExit(f"there is no row {unknown[0]}: choose from {', '.join(row.name for row in rows)}")
    return [row for row in rows if not only or row.name in only]
