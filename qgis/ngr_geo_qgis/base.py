"""What all algorithms share: inputs, outputs, how the command is run, and which layers are loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsPalettedRasterRenderer,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
    QgsRasterLayer,
)
from qgis.PyQt.QtGui import QColor, QIcon

from . import command

_METHODS = ["auto", "guide", "ngr"]
_LAYERS = {"files": "restored", "filled_files": "filled", "uncertainty_files": "uncertainty", "change_files": "change"}


@dataclass(frozen=True)
class Parameters:
    """What an algorithm was given."""

    algorithm: QgsProcessingAlgorithm
    values: dict[str, Any]
    context: QgsProcessingContext
    feedback: QgsProcessingFeedback


def text(given: Parameters, name: str) -> str:
    """Return a parameter as text."""
    return str(given.algorithm.parameterAsString(given.values, name, given.context))


def chosen(given: Parameters, name: str, several: bool = False) -> Any:
    """Return the value that was chosen from a list, or all of them."""
    if several:
        return given.algorithm.parameterAsEnumStrings(given.values, name, given.context)
    return given.algorithm.parameterAsEnumString(given.values, name, given.context)


def layers(given: Parameters, name: str) -> list[str]:
    """Return the files of a parameter that is one raster layer, or several."""
    found = given.algorithm.parameterAsLayerList(given.values, name, given.context)
    wrong = [layer.name() for layer in found if layer.providerType() != "gdal"]
    if wrong:
        msg = (
            f"{', '.join(wrong)}: expected raster layers of files, such as GeoTIFFs. Save the layer as a GeoTIFF first."
        )
        raise command.CommandError(msg)
    return [command.path_of(layer.source()) for layer in found]


class _Marked(QgsProcessingLayerPostProcessorInterface):
    """Shows a mask of filled pixels in one colour, and what is not filled not at all."""

    kept: ClassVar[list[Any]] = []  # QGIS holds no reference to what it calls later

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Give the layer its colour."""
        if isinstance(layer, QgsRasterLayer) and layer.bandCount() == 1:
            filled = QgsPalettedRasterRenderer.Class(1, QColor(230, 80, 40, 170), "filled")
            layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, [filled]))
            layer.triggerRepaint()


class _Algorithm(QgsProcessingAlgorithm):
    """A verb of ngr-geo."""

    verb: ClassVar[str] = ""
    title: ClassVar[str] = ""
    help: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ()

    def own(self) -> list[Any]:
        """Return the parameters that only this verb has."""
        return []

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return the options of the command that these parameters stand for."""
        return {}

    def inputs(self, given: Parameters) -> list[str]:
        """Return the files to restore."""
        product = text(given, "PRODUCT").strip()
        found = layers(given, "INPUT")
        if bool(product) == bool(found):
            msg = "Name what is to be restored: layers, or the file of a product, and not both."
            raise command.CommandError(msg)
        return [product] if product else found

    def place(self, given: Parameters) -> str:
        """Return where the result is written."""
        raise NotImplementedError

    def createInstance(self) -> "QgsProcessingAlgorithm":
        """Return a new algorithm of this kind."""
        return type(self)()

    def name(self) -> str:
        """Return the identifier."""
        return self.verb.replace("-", "")

    def displayName(self) -> str:
        """Return the name that is shown."""
        return self.title

    def shortHelpString(self) -> str:
        """Return what is shown beside the parameters."""
        return self.help

    def icon(self) -> QIcon:
        """Return the provider's icon."""
        return QIcon(str(Path(__file__).with_name("icon.svg")))

    def _declare(self, source: Any, destination: Any) -> None:
        """Add all parameters: inputs, those of the verb, those of all verbs, outputs."""
        product = QgsProcessingParameterFile("PRODUCT", "File of a product, in place of layers", optional=True)
        method = QgsProcessingParameterEnum("METHOD", "Method", _METHODS, defaultValue="auto", usesStaticStrings=True)
        for parameter in (source, product, *self.own(), method):
            self.addParameter(parameter)
        for kind in self.kinds:
            label = {
                "uncertainty": "Also write a standard deviation of each value",
                "change": "Also write what was added",
            }[kind]
            self.addParameter(QgsProcessingParameterBoolean(kind.upper(), label, defaultValue=False))
        advanced = (
            QgsProcessingParameterVectorLayer(
                "AOI", "Polygons beyond which nothing changes", [QgsProcessing.TypeVectorPolygon], optional=True
            ),
            QgsProcessingParameterString("BANDS", "Only these bands, by name", optional=True),
            QgsProcessingParameterString("DEVICE", "Device: cpu, cuda, cuda:1", optional=True),
            QgsProcessingParameterString(
                "EXECUTABLE", "Command ngr-geo, in place of the provider's setting", optional=True
            ),
        )
        for parameter in advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(parameter)
        self.addParameter(
            QgsProcessingParameterBoolean("LOAD", "Load the mask of filled pixels, too", defaultValue=True)
        )
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "REPORT", "Report", "HTML files (*.html)", optional=True, createByDefault=False
            )
        )
        self.addParameter(destination)
        for kind, label in _LAYERS.items():
            self.addOutput(QgsProcessingOutputMultipleLayers(kind.upper(), f"Layers: {label}"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the command, have its layers loaded, and return its files."""
        given = Parameters(self, parameters, context, feedback)
        place = self.place(given)  # once: a temporary place is another one at each call
        try:
            summary = self._run(given, place)
        except command.Canceled:
            return {}
        except command.CommandError as error:
            raise QgsProcessingException(str(error)) from error
        files = {kind: list(summary.get(kind, ())) for kind in _LAYERS}
        self._load(given, files, place)
        report = {"REPORT": summary["report"]} if summary.get("report") else {}
        return {"OUTPUT": place} | {kind.upper(): found for kind, found in files.items()} | report

    def _run(self, given: Parameters, place: str) -> dict[str, Any]:
        """Return the summary of the command."""
        named = text(given, "EXECUTABLE") or ProcessingConfig.getSetting("NGR_GEO_EXECUTABLE") or ""
        executable = command.find(named)
        aoi = self.parameterAsCompatibleSourceLayerPath(
            given.values, "AOI", given.context, ["gpkg", "geojson", "shp"], "gpkg", given.feedback
        )
        common = {
            "method": chosen(given, "METHOD"),
            "aoi": aoi,
            "bands": text(given, "BANDS"),
            "device": text(given, "DEVICE"),
            "report": self.parameterAsFileOutput(given.values, "REPORT", given.context),
        } | {kind: self.parameterAsBoolean(given.values, kind.upper(), given.context) for kind in self.kinds}
        words = command.words(self.verb, self.inputs(given), place, common | self.options(given))
        given.feedback.pushCommandInfo(" ".join([executable, *words]))
        stage = ""

        def progress(name: str, percent: float) -> None:
            nonlocal stage
            if name != stage:
                stage = name
                given.feedback.setProgressText(f"Stage: {name}")
            given.feedback.setProgress(percent)

        def note(line: str) -> None:
            if line.startswith("Warning: "):
                given.feedback.pushWarning(line.removeprefix("Warning: "))
            elif not line.startswith("Error: "):  # QGIS shows the error by itself
                given.feedback.pushInfo(line)

        return command.run([executable, *words], progress, note, given.feedback.isCanceled)

    def _load(self, given: Parameters, files: dict[str, list[str]], place: str) -> None:
        """Have the layers loaded that QGIS does not load by itself."""
        if given.context.project() is None:
            return
        wanted = list(_LAYERS) if self.parameterAsBoolean(given.values, "LOAD", given.context) else ["files"]
        known = set(given.context.layersToLoadOnCompletion()) | {place}
        for kind in wanted:
            for file in files[kind]:
                if file in known:
                    continue
                details = QgsProcessingContext.LayerDetails(Path(file).stem, given.context.project(), kind.upper())
                if kind == "filled_files":
                    _Marked.kept.append(_Marked())
                    details.setPostProcessor(_Marked.kept[-1])
                given.context.addLayerToLoadOnCompletion(file, details)


class Stacks(_Algorithm):
    """A verb of several dates, which writes a GeoTIFF for each date into a folder."""

    kinds = ("uncertainty",)

    def own(self) -> list[Any]:
        """Return the dates that are filled."""
        return [QgsProcessingParameterString("DATES", "Fill only these dates, such as 2023-08-18", optional=True)]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return the dates that are filled."""
        return {"dates": text(given, "DATES")}

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Declare the parameters."""
        source = QgsProcessingParameterMultipleLayers("INPUT", "Dates", QgsProcessing.TypeRaster, optional=True)
        self._declare(source, QgsProcessingParameterFolderDestination("OUTPUT", "Folder for the restored dates"))

    def place(self, given: Parameters) -> str:
        """Return the folder, which ends as folders do."""
        return str(self.parameterAsFileOutput(given.values, "OUTPUT", given.context)).rstrip("/\\") + "/"


class Cubes(_Algorithm):
    """A verb of one raster, which writes one raster."""

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Declare the parameters."""
        source = QgsProcessingParameterRasterLayer("INPUT", "Raster", optional=True)
        self._declare(source, QgsProcessingParameterRasterDestination("OUTPUT", "Restored"))

    def place(self, given: Parameters) -> str:
        """Return the file."""
        return str(self.parameterAsOutputLayer(given.values, "OUTPUT", given.context))
