"""Options from elsewhere: Hydra finds those of installed plugins and of the folder that ``ADVVID_CONFIG_DIR`` names."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from advvid.config.folders import folders


class PluginFolders(SearchPathPlugin):
    """Adds these folders behind advvid's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add each folder; the first one is advvid's, which Hydra has already."""
        for folder in folders()[1:]:
            search_path.append("advvid", f"file://{folder}")
