"""What a defense is for: a few epochs of it withstand an attack against which plain training has nothing."""

import pytest
from training_steps import split, trainer

from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.data.loader import eval_batches
from advvid.defenses.avg import AVG
from advvid.defenses.awp import AWP
from advvid.defenses.fgsm_rs import FGSMRS
from advvid.defenses.free_at import FreeAT
from advvid.defenses.mart import MART
from advvid.defenses.max import MAX
from advvid.defenses.msd import MSD
from advvid.defenses.n_fgsm import NFGSM
from advvid.defenses.none import NoDefense
from advvid.defenses.trades import TRADES
from advvid.defenses.vfat_ws import VFATWS
from advvid.tasks.classification import Classification
from advvid.training.validation import score

PGD_12 = PGD(eps="12/255")
LO = {"pgd": PGD_12, "roa": ROA(), "framing": FrameBorder(width=10), "salt_and_pepper": SaltAndPepper()}
TRAIN, TEST = split(120, 0), split(60, 1)


def robust_accuracy(tmp_path, defense, attacks):
    run = trainer(tmp_path, defense, attacks, epochs=10, batch_size=16, checkpoint_minutes=10.0)
    model = run.fit(TRAIN, TEST)
    return score(model, eval_batches(TEST, 60), Classification(), run.fabric.device, {"": PGD_12})[""].accuracy


@pytest.mark.slow
def test_plain_training_has_nothing_to_set_against_it(tmp_path):
    assert robust_accuracy(tmp_path, NoDefense(), {"pgd": PGD_12}) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "defense",
    [TRADES(beta=2), MART(), FGSMRS(), NFGSM(), VFATWS(), FreeAT(), AWP(), AVG(), MAX(), MSD()],
    ids=lambda d: type(d).__name__,
)
def test_every_defense_withstands_what_it_trains_against(tmp_path, defense):
    assert robust_accuracy(tmp_path, defense, LO if isinstance(defense, AVG | MSD) else {"pgd": PGD_12}) >= 0.4
