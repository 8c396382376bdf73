"""Processing algorithms of ngr_geo for QGIS. They run its command line as a process, so that QGIS never imports torch."""

from typing import Any


def classFactory(iface: Any) -> Any:
    """Return the plugin; QGIS calls this by its name."""
    from .plugin import Plugin

    return Plugin()
