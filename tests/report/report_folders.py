"""Run folders as a report finds them, written by the package's own code where it is quick."""

import json

import torch
import yaml

from advvid.analyses.strength import Strength
from advvid.metrics.statistics import wilson
from advvid.visuals.sheets import contact_sheet


def score(acc, n=100, **more):
    return {"acc": acc, "ci95": list(wilson(round(acc * n), n))} | more


def column(acc, n=100, **more):
    given = {
        "access": "white_box",
        "threat": "LinfBall",
        "budget": "l-inf 8/255",
        "max_distance": 8 / 255,
        "violations": 0,
        "settings": {"class": "PGD", "eps": "8/255"},
        "seconds": 12.5,
        "gradient_calls": 2000,
        "metrics": {},
        "measures": {"fooling_rate": 1 - acc},
    }
    return score(acc, n, **given) | more


def check(name, raised, message):
    return {
        "name": name,
        "raised": raised,
        "message": message,
        "condition": "c",
        "means": "it is weak",
        "remedy": "more steps",
    }


def make_run(folder, defense="at", seed=0, pgd=0.5, n=100, dataset="motion", checks=(), **more):
    """Write a run folder with a table and return it."""
    config = {
        "choices": {"defense": defense, "attack": "pgd", "dataset": dataset, "model": "r3d_tiny"},
        "mode": "train_eval",
        "seed": seed,
        "dataset": {"_target_": "a.Motion", "size": 32},
        "evaluation": {"batch_size": 4},
        "defense": {"_target_": f"a.{defense}"},
    }
    result = {
        "schema": 1,
        "n": n,
        "seed": seed,
        "commit": "0123abcd",
        "versions": {"torch": "2.6"},
        "missing": [],
        "clean": score(0.9, n, metrics={}),
        "attacks": {"pgd": column(pgd, n), "pgd_15": column(pgd / 5, n, budget="l-inf 15/255")},
        "mean": score(0.6, n),
        "mean_attacks": score(0.4, n),
        "union": score(pgd / 5, n),
        "controls": {"random_noise_8": column(0.88, n, access="none")},
        "extra": {},
        "checks": list(checks),
        "config": config,
    } | more
    folder.mkdir(parents=True)
    (folder / "robustness.json").write_text(json.dumps(result))
    hydra(folder, [f"defense={defense}", "attack@suite.mim=mim x", f"seed={seed}"])
    return folder


def hydra(folder, overrides):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    own = {"hydra": {"overrides": {"hydra": ["hydra.run.dir=outputs/x", "hydra.mode=RUN"]}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(own))


def add_sheet(folder, name="pgd", clips=2, frames=3):
    """Write a contact sheet of random clips and return the clips before and after."""
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(clips, 3, frames, 8, 8, generator=generator)
    after = (before + 0.1 * torch.rand(before.shape, generator=generator)).clamp(0, 1)
    path = folder / "pictures" / f"{name}.png"
    contact_sheet(path, before, after, [(0, 0, 1)] * clips, ["Jump", "Walk"], name, "l-inf 8/255")
    return before, after


def add_analysis(folder):
    """Write the result of a strength curve and its figure."""
    analysis = Strength(values=["0", "8/255"])
    points = [column(acc, name=f"eps={eps}", budget=f"l-inf {eps}") for eps, acc in (("0", 0.9), ("8/255", 0.2))]
    result = {
        "schema": 1,
        "analysis": "strength",
        "field": "eps",
        "values": [0.0, 8 / 255],
        "written": ["0", "8/255"],
        "n": 100,
        "attack": "pgd",
        "attack_class": "PGD",
        "chance": 0.1,
        "missing": [],
        "seed": 0,
        "models": [
            {
                "label": "at",
                "checkpoint": "last.pt",
                "weights": "0",
                "clean": score(0.9),
                "points": points,
                "checks": [],
            }
        ],
        "config": {
            "analysis": {"_target_": "advvid.analyses.strength.Strength", "field": "eps", "values": ["0", "8/255"]}
        },
    }
    (folder / "analysis").mkdir()
    (folder / "analysis" / "strength.json").write_text(json.dumps(result))
    analysis.draw(result, folder / "analysis", "strength")


def paper(scale="demo", run="runs/at", value=56.5, published=23.3, **more):
    """A table of a paper with one measured cell and one that could not be had."""
    measured = {"value": value, "ci95": [46.7, 65.7], "n": 100, "seed": 0, "run": str(run), "column": "pgd"}
    cells = {
        "pgd_eps8": {"published": published, "measured": measured, "why_missing": None},
        "flickering": {"published": 42.3, "measured": None, "why_missing": "the budget is not printed"},
    }
    return {
        "id": "kinfu-table2",
        "title": "Budgets",
        "paper": "Kinfu and Vidal 2022, Table 2",
        "dataset": f"data of {scale}",
        "scale": scale,
        "caption": "",
        "columns": ["pgd_eps8", "flickering"],
        "units": {"pgd_eps8": "%"},
        "rows": [{"name": "AT", "cells": cells}],
        "claims": [],
        "figures": [],
        "command": f"make kinfu-table2 SCALE={scale}",
    } | more


def everything(folder):
    """Write two runs side by side, one with all that a run can have, one that failed, and a table of a paper."""
    raised = [
        check("converged", True, "doubling the steps from pgd to pgd_15 lowers accuracy by 5%"),
        check("ok", False, ""),
    ]
    at = make_run(folder / "at", checks=raised)
    add_sheet(at)
    add_analysis(at)
    make_run(folder / "cat <b>", defense="cat", pgd=0.6)
    hydra(folder / "failed", ["attack.eps=9"])
    (folder / "tables.json").write_text(json.dumps([paper(run=at, figures=["at/analysis/strength.svg"])]))
    return folder
