"""The plugin: it adds the provider to QGIS's Processing, and takes it away."""

from qgis.core import QgsApplication

from .provider import Provider


class Plugin:
    """What QGIS loads: in its window by `initGui`, in qgis_process by `initProcessing`."""

    def __init__(self) -> None:
        """Hold no provider yet."""
        self._provider: Provider | None = None

    def initProcessing(self) -> None:
        """Add the provider."""
        self._provider = Provider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the provider, which is all there is to see."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
