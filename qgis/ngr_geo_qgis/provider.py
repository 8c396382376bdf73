"""The provider: its algorithms, and the setting that names the command."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from . import algorithms

EXECUTABLE = "NGR_GEO_EXECUTABLE"
_ICON = str(Path(__file__).with_name("icon.svg"))


class Provider(QgsProcessingProvider):
    """The provider `ngr_geo`."""

    def load(self) -> bool:
        """Declare the setting, and load the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        text = "Command ngr-geo (empty: the one on PATH)"
        ProcessingConfig.addSetting(Setting(self.name(), EXECUTABLE, text, "", valuetype=Setting.FILE))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Withdraw the setting."""
        ProcessingConfig.removeSetting(EXECUTABLE)

    def loadAlgorithms(self) -> None:
        """Add an algorithm for each verb."""
        for algorithm in algorithms.ALL:
            self.addAlgorithm(algorithm())

    def id(self) -> str:
        """Return the provider's identifier, the first part of those of its algorithms."""
        return "ngr_geo"

    def name(self) -> str:
        """Return the name that is shown."""
        return "ngr_geo"

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Return the formats that are written: GeoTIFF and ENVI."""
        return ["tif", "img"]

    def icon(self) -> QIcon:
        """Return the icon that is shown."""
        return QIcon(_ICON)
