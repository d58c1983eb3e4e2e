"""The columns of ``suite=all``: one for each file of ``conf/attack``.

Hydra imports every module of the namespace ``hydra_plugins`` before it composes, so that ``conf/suite/all.yaml`` can
inherit ``_every_attack``, whoever composes it. An attack whose file has the line ``# not in suite=all: <why>`` in its head
is left out.
"""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from advvid.config.catalogue import NOT_IN_ALL, notes, option_files

COLUMNS = [
    {f"/attack@{name.replace('/', '_')}": name}
    for name, path in option_files("attack").items()
    if NOT_IN_ALL not in notes(path)
]
ConfigStore.instance().store(group="suite", name="_every_attack", node={"defaults": COLUMNS}, provider="advvid")
