"""The options of installed plugins: Hydra finds the folder ``conf`` of every package of the group ``advvid.plugins``."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from advvid.config.trust import plugins


class PluginFolders(SearchPathPlugin):
    """Adds these folders behind advvid's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add each folder under the name of its package."""
        for package, folder in plugins().items():
            if folder is not None:
                search_path.append(package, f"file://{folder}")
