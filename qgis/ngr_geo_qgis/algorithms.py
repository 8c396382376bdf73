"""One algorithm for each verb: its parameters, and how they become options of the command."""

from typing import Any, ClassVar

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterEnum,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .base import Cubes, Parameters, Stacks, chosen, layers, text

_NOISE = ["auto", "gaussian", "mixed"]
_DIRECTIONS = ["detected", "columns", "rows"]
_FAULTS = ["bad pixels", "lines", "stripes", "noise"]


def _enum(name: str, label: str, options: list[str], **more: Any) -> QgsProcessingParameterEnum:
    return QgsProcessingParameterEnum(name, label, options, usesStaticStrings=True, **more)


def _text(name: str, label: str) -> QgsProcessingParameterString:
    return QgsProcessingParameterString(name, label, optional=True)


class Decloud(Stacks):
    """`ngr-geo decloud`."""

    verb = "decloud"
    title = "Remove clouds"
    help = (
        "Fills the clouds of each date from the other dates. The layers are one raster for each date, with the same bands; the "
        "masks are rasters such as SCL, QA_PIXEL or Fmask, or 1 = cloud, matched by the dates in the names of the files. "
        "Without masks a band with a well-known name is the mask. Pixels that are not cloud come back as they were."
    )

    def own(self) -> list[Any]:
        """Return the masks, and which codes and dates count."""
        masks = QgsProcessingParameterMultipleLayers("MASKS", "Cloud masks", QgsProcessing.TypeRaster, optional=True)
        return [masks, _text("CLASSES", "Codes of the mask that count as cloud, such as 3,8,9,10"), *super().own()]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return the masks, and which codes and dates count."""
        return super().options(given) | {"clouds": layers(given, "MASKS"), "classes": text(given, "CLASSES")}


class InpaintDates(Stacks):
    """`ngr-geo inpaint` of several dates."""

    verb = "inpaint"
    title = "Fill gaps of several dates"
    help = (
        "Fills nodata and NaN of each date from the other dates, such as the gaps of Landsat 7. The layers are one raster for each "
        "date, with the same bands and dates in the names of their files."
    )

    def name(self) -> str:
        """Return a name that is not that of the algorithm for one raster."""
        return "inpaintdates"


class Inpaint(Cubes):
    """`ngr-geo inpaint` of one raster."""

    verb = "inpaint"
    title = "Fill gaps"
    help = "Fills nodata and NaN of one raster, or the pixels that a mask marks."
    kinds = ("uncertainty",)

    def own(self) -> list[Any]:
        """Return the mask, and how far nodata is filled."""
        mask = QgsProcessingParameterRasterLayer("MASK", "Mask: not 0 = missing", optional=True)
        extent = _enum(
            "EXTENT", "Where nodata is filled without a mask", ["footprint", "all"], defaultValue="footprint"
        )
        return [mask, extent]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return the mask, or how far nodata is filled."""
        mask = layers(given, "MASK")
        return {"missing": mask} if mask else {"extent": chosen(given, "EXTENT")}


class Spectral(Cubes):
    """A verb for spectral cubes."""

    noise: ClassVar[bool] = False
    direction: ClassVar[bool] = False

    def own(self) -> list[Any]:
        """Return what the verb has of noise and direction, and bands to leave."""
        noise = [_enum("NOISE", "Noise; mixed: also impulses, saturation, stripes", _NOISE, defaultValue="auto")]
        direction = [_enum("DIRECTION", "Direction of the stripes", _DIRECTIONS, defaultValue="detected")]
        bad = _text("BAD_BANDS", "Bands to leave as they are, by name or number from 1")
        return [*(noise if self.noise else ()), *(direction if self.direction else ()), bad]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return what was chosen of noise and direction, and bands to leave."""
        options: dict[str, Any] = {"bad-bands": text(given, "BAD_BANDS")}
        if self.noise:
            options["noise"] = chosen(given, "NOISE")
        if self.direction and chosen(given, "DIRECTION") != "detected":
            options["direction"] = chosen(given, "DIRECTION")
        return options


class Denoise(Spectral):
    """`ngr-geo denoise`."""

    verb = "denoise"
    title = "Remove noise from a spectral cube"
    help = "Removes noise from a hyperspectral cube. Bands that are flagged bad stay as they are."
    noise = True
    kinds = ("uncertainty", "change")


class Destripe(Spectral):
    """`ngr-geo destripe`."""

    verb = "destripe"
    title = "Remove stripes from a spectral cube"
    help = "Removes stripes from a hyperspectral cube, vertical, horizontal or slightly tilted."
    direction = True
    kinds = ("uncertainty", "change")


class FillDeadlines(Spectral):
    """`ngr-geo fill-deadlines`."""

    verb = "fill-deadlines"
    title = "Fill dead lines of a spectral cube"
    help = "Finds dead lines of a hyperspectral cube, and fills them. What was measured comes back as it was."
    kinds = ("uncertainty",)

    def own(self) -> list[Any]:
        """Return the lines."""
        return [_text("LINES", "Columns from 0, and rows as r12; empty: detected"), *super().own()]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return the lines."""
        return super().options(given) | {"lines": text(given, "LINES")}


class Repair(Spectral):
    """`ngr-geo repair`."""

    verb = "repair"
    title = "Repair a spectrometer's cube"
    help = (
        "Mends bad pixels that the product ships, dead lines, stripes and noise, in this order. To have the bad pixels of a "
        "product (EnMAP, PRISMA, EMIT), name its file in place of a layer."
    )
    noise = True
    direction = True

    def own(self) -> list[Any]:
        """Return which faults are mended."""
        faults = _enum("FAULTS", "What is mended; none chosen: all", _FAULTS, allowMultiple=True, optional=True)
        return [faults, *super().own()]

    def options(self, given: Parameters) -> dict[str, Any]:
        """Return which faults are mended."""
        return super().options(given) | {"faults": ",".join(chosen(given, "FAULTS", several=True))}


ALL = (Decloud, Inpaint, InpaintDates, Denoise, Destripe, FillDeadlines, Repair)
