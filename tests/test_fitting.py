"""Attacks that learn do so once, on validation clips, and are scored in their fitted form."""

import pytest
import torch

from advvid.attacks.fitted import FittedAttack
from advvid.attacks.flickering_universal import FlickeringUniversal
from advvid.attacks.pgd import PGD
from advvid.attacks.universal import Universal
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.fitting import fit_columns
from advvid.tasks.classification import Classification

COLUMNS = [
    Column("pgd", PGD()),
    Column("flicker", FlickeringUniversal(steps=3)),
    Column("dense", Universal(steps=3, width=4)),
]


def names(count):
    return Contents([str(i) for i in range(count)], [str(i) for i in range(count)])


def fitted(model, clips, labels, run_dir, walks, columns=COLUMNS):
    def batches():
        walks.append(1)
        return [Batch(clips[i : i + 2], labels[i : i + 2], ["a", "b"]) for i in range(0, len(clips), 2)]

    return fit_columns(columns, model, batches, lambda: names(len(clips)), Classification(), 0, run_dir)


def test_learned_once_and_taken_from_the_folder_after(small, clips, labels, tmp_path):
    walks = []
    first = fitted(small, clips, labels, tmp_path, walks)
    assert first[0] is COLUMNS[0]
    assert all(isinstance(column.attack, FittedAttack) for column in first[1:])
    learned = len(walks)
    again = fitted(small, clips, labels, tmp_path, walks)
    assert len(walks) == learned
    for one, other in zip(first[1:], again[1:], strict=True):
        state = other.attack.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.attack.state_dict().items())


def test_another_model_or_setting_learns_anew(small, clips, labels, tmp_path):
    walks = []
    fitted(small, clips, labels, tmp_path, walks)
    learned = len(walks)
    fitted(small, clips, labels, tmp_path, walks, [Column("flicker", FlickeringUniversal(steps=4))])
    assert len(walks) > learned
    learned = len(walks)
    with torch.no_grad():
        small.head.bias[0] += 1
    fitted(small, clips, labels, tmp_path, walks, [Column("flicker", FlickeringUniversal(steps=4))])
    assert len(walks) > learned


def test_an_attack_that_fools_nothing_after_learning_says_so(small, clips, labels, tmp_path, caplog):
    weak, strong = Universal(eps=0.0, steps=2, width=4), FlickeringUniversal(steps=40, step_size=0.1)
    fitted(small, clips, labels, tmp_path, [], [Column("weak", weak), Column("strong", strong)])
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "the attack of column weak learned on 6 clips and fools none of them: raise its steps (now 2) or its budget"
    ]


def test_nothing_to_learn_from_is_told(small, tmp_path):
    with pytest.raises(AdvvidError, match="column flicker learns on the validation split, which is empty"):
        fitted(small, torch.empty(0, 3, 4, 16, 16), torch.empty(0), tmp_path, [])
