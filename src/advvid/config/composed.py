"""The configuration of a command line, composed in Python."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from advvid.config.explain import explain
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir


def composed(overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of a command line, see ``composed_with_choices``.

    Example:
        >>> composed(["attack=pgd", "attack.eps=4/255"]).attack.eps
        '4/255'
    """
    return composed_with_choices(overrides)[0]


def composed_with_choices(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """Return the configuration of ``python -m advvid.train <overrides>``, and the chosen option of each group.

    A program of Hydra that calls this keeps its own configuration.

    Args:
        overrides: as on the command line, such as ``suite=quick``.

    Raises:
        AdvvidError: for an override that does not compose.

    Example:
        >>> composed_with_choices(["attack=fgsm"])[1]["attack"]
        'fgsm'
    """
    present = GlobalHydra.instance()
    held, present.hydra = present.hydra, None
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise AdvvidError(f"cannot be composed: {explain(error)}") from error
    finally:
        GlobalHydra.instance().hydra = held
    chosen = {str(group): str(name) for group, name in cfg.hydra.runtime.choices.items() if name is not None}
    with open_dict(cfg):
        del cfg["hydra"]
        if OmegaConf.is_interpolation(cfg, "name"):  # which only a running command line can follow
            cfg.name = f"{cfg.dataset.get('name') or chosen['dataset']}_{chosen['defense']}"
    return cfg, chosen
