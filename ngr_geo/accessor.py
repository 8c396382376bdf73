"""The accessors `DataArray.ngr` and `Dataset.ngr`: one verb per task, each one call to `restore`. They hold no state.

Keywords that verbs share are described in `keywords`, and inserted into the verbs' documentation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import xarray as xr

from .calls import call_of, recorded
from .keywords import TILES, Gaps, Method, Repairing, Solving, described
from .record import Held
from .shown import Raster, Shown

if TYPE_CHECKING:
    from .atomic import PathLike
    from .methods.checkpoint import StackModel
    from .plan import Plan
    from .progress import Progress
    from .raster.selection import Dates
    from .settings import Options
    from .tiling.work import Folder


class _Verbs(Shown[Raster]):
    """The verbs, the same on both types; each returns the type it was called on."""

    @recorded
    @described(Gaps)
    def decloud(
        self,
        clouds: Any = None,
        *,
        dates: Dates = None,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        refine: bool | None = None,
        **shared: Unpack[Gaps],
    ) -> Raster:
        """Return the stack with its clouds removed.

        Clear pixels come back bit for bit, with CRS, nodata, dtype, coordinates, attributes, encoding and chunks. Pixels
        that are nodata on one date and not on all are filled, too. Eager in, eager out; Dask in, lazy out.

        Args:
            clouds: What is cloud: the name of a variable, a DataArray, or None: a well-known variable is looked for. CF flags are
                decoded, and so is a mask whose name says its product (SCL, QA_PIXEL, pixel_qa, BQA, Fmask, HLS, QA60, UDM2,
                OmniCloudMask, state_1km, cloud_probability: see `ngr_geo.raster.products`); else rename it. Or your own mask:
                booleans (True = cloud), or 0 and 1 without the name of a product. On any grid that can be aligned. All
                values of a mask are counted before it is read, also of a lazy one, unless it is boolean.
            method: "auto" is, for each date, a mean of all members with weights that do best on hidden pixels: "guide", a
                regression on the other dates, "ngr", networks that refine it, "local", a regression of each tile alone, and
                "kriging", a Gaussian process of each tile. "paper" is the published algorithm, which takes hours.

        Returns:
            The same type, with a boolean coordinate `filled`: what was filled, by this verb or an earlier one. GeoTIFFs have no
            such coordinates: `result.filled.astype("uint8").rio.to_raster("NAME_filled.tif")` beside NAME.tif keeps it for the
            command line. Attributes `ngr_*` say how it was done: the method of each date and the error expected in its gaps;
            `repeat` makes the result again from them. Of a lazy raster `ngr_dates` has None for what only solving shows. That is
            computed with the pixels, as coordinates `ngr_*` along time: numbers, and `ngr_method` as flags (`flag_masks` and
            `flag_meanings` of the CF conventions). `result.ngr.record` is the whole record.

        Raises:
            InputError, MaskError, GridError: each says what was found, what was expected, and the call that mends it.
            TilesFailedError: with `work`, some tiles could not be read or solved; the others are kept.

        References:
            Xu et al., arXiv 2308.16612.
        """
        from . import restore

        how = restore.Masking(clouds, classes, dilate, probability, refine)
        return cast(Raster, restore.decloud(self._raster, how, dates, _options(**shared)))

    @recorded
    @described(Gaps)
    def inpaint(
        self,
        missing: Any = None,
        *,
        extent: Literal["footprint", "all"] = "footprint",
        dates: Dates = None,
        **shared: Unpack[Gaps],
    ) -> Raster:
        """Return the raster with its missing pixels filled.

        A single date is filled entry by entry, from the bands of a pixel that are observed and from its surroundings; so is a stack
        of which most gaps lack some bands only, as one cube, unless it is lazy and has no work folder.

        Args:
            missing: Boolean, True = missing: a DataArray or array on (time, band, y, x), (time, y, x) or (y, x), or the name of
                a variable, or "product": the bad pixels that it ships, its coordinate `bad_pixels`. None: nodata and NaN.
            extent: How far nodata is filled where no mask is given; all of a mask is. "footprint": not where no date has a valid
                value in any band. Of a single date holes count as inside, too: all but what reaches the border of the image through
                an opening wider than 16 pixels, or lies within 16 pixels of that, and but rows and columns at the border without
                any data. So missing scan lines and dead columns are filled, land that reaches the border is not, and an island is
                (give missing= to keep it). Found from the whole scene in one step, also where the raster is lazy. "all":
                everything.

        Returns:
            The same type, as `decloud` does.

        Raises:
            InputError, MaskError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        return cast(Raster, restore.inpaint(self._raster, missing, dates, _options(extent=extent, **shared)))

    @recorded
    @described(Solving, tile=TILES["denoise"], overlap=16)
    def denoise(
        self,
        noise: Literal["auto", "gaussian", "mixed"] = "auto",
        *,
        bad_bands: Sequence[str | int] | None = None,
        change: bool = False,
        **shared: Unpack[Solving],
    ) -> Raster:
        """Return a cube of many bands with its noise removed.

        Bands that hold only nodata, bands flagged bad (by a coordinate or attribute `bbl`, `good_wavelengths` or `bad_bands`) and
        nodata pixels stay as they are and take no part.

        Args:
            noise: "gaussian": its level is estimated for each band. "mixed": besides, impulses, saturation, stripes and dead lines.
                "auto": decided by the tails of the residual.
            method: "guide": subspace and groups of similar patches; "ngr" refines it; "auto" keeps what does better on hidden
                entries; "paper" is the published algorithm, which takes hours.

        Returns:
            The same type. Attributes `ngr_*` say what was done, and `ngr_noise` the standard deviation of the noise per band, in
            the raster's units. The coordinate `filled` marks values that were filled, not corrected, by this verb or an
            earlier one.

        Raises:
            InputError: what was found, what was expected, and the call that mends it.

        References:
            Xu et al., arXiv 2308.16612; Bioucas-Dias & Nascimento 2008 (noise level and subspace); Dabov et al. 2007 (groups
            of similar patches); Gavish & Donoho 2017 (shrinkage of singular values).
        """
        from . import restore

        return cast(Raster, restore.denoise(self._raster, noise, bad_bands, change, _options(**shared)))

    @recorded
    @described(Solving, tile=TILES["destripe"], overlap=16)
    def destripe(
        self,
        direction: Literal["columns", "rows"] | None = None,
        *,
        bad_bands: Sequence[str | int] | None = None,
        change: bool = False,
        **shared: Unpack[Solving],
    ) -> Raster:
        """Return a cube without stripes: offsets of columns or rows, in some or all bands, also slightly tilted ones.

        Lines without a stripe come back bit for bit.

        Args:
            direction: "columns" or "rows": along what the stripes run; None: found for each tile and date.
            tile: Side of a tile, in pixels: the longer the lines, the surer their offsets.

        Returns:
            The same type, as `denoise` does.

        Raises:
            InputError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        return cast(Raster, restore.destripe(self._raster, direction, bad_bands, change, _options(**shared)))

    @recorded
    @described(Repairing, tile=None, overlap=16)
    def repair(
        self,
        faults: Sequence[Literal["bad pixels", "lines", "stripes", "noise"]] | None = None,
        *,
        noise: Literal["auto", "gaussian", "mixed"] = "auto",
        direction: Literal["columns", "rows"] | None = None,
        bad_bands: Sequence[str | int] | None = None,
        **shared: Unpack[Repairing],
    ) -> Raster:
        """Return a spectrometer's cube with its faults mended one after the other: what to do first with a new cube.

        Bad pixels that the product ships are filled, dead lines are found and filled, stripes and then noise are removed, by the
        verbs `inpaint`, `fill_deadlines`, `destripe` and `denoise`, each on what the one before it made.

        Args:
            faults: Which are mended, always in this order: "bad pixels", "lines", "stripes", "noise". None: all; bad pixels only
                where the raster has the coordinate `bad_pixels`, which `ngr_geo.open` sets.
            noise: As for `denoise`.
            direction: As for `destripe`.
            tile: Side of a tile, in pixels. None: that of each verb.
            work: As for the verbs; each has a folder in it.

        Returns:
            The same type, as `denoise` does. `filled` marks what any of the verbs filled; `ngr_steps` is the record of each.

        Raises:
            InputError, MaskError: what was found, what was expected, and the call that mends it.
        """
        from . import repair

        return cast(Raster, repair.repair(self._raster, faults, noise, direction, bad_bands, shared))

    @recorded
    @described(Solving, tile=TILES["fill_deadlines"], overlap=16)
    def fill_deadlines(
        self, lines: Any = None, *, bad_bands: Sequence[str | int] | None = None, **shared: Unpack[Solving]
    ) -> Raster:
        """Return a cube with its dead lines filled: whole or partial, constant, zero or saturated, in some or all bands.

        All other values come back bit for bit.

        Args:
            lines: None: they are found (see `ngr_geo.masks.dead_lines`). Else indices of columns, {"columns": [...],
                "rows": [...]}, a boolean mask on some of (time, band, y, x), True = dead, or "product", as for `inpaint`.

        Returns:
            The same type, as `denoise` does; `filled` (band, y, x) marks the dead lines.

        Raises:
            InputError, MaskError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        return cast(Raster, restore.fill_deadlines(self._raster, lines, bad_bands, _options(**shared)))

    def repeat(self, result: xr.DataArray | xr.Dataset | Mapping[str, str], **keywords: Any) -> Raster:
        """Return this raster restored as it was for a result: the same verb with the same keywords.

        Args:
            result: what a verb returned, or its attributes, or the tags of a GeoTIFF that the command line wrote.
            keywords: arrays that the verb was given, such as clouds=mask (only their digests are recorded); others overrule
                what was recorded, for example work="folder".

        Raises:
            InputError: there is no record, or an array is missing or another one.
        """
        record = result if isinstance(result, Mapping) and not isinstance(result, xr.Dataset) else result.attrs
        verb, chosen = call_of(record, keywords)
        return cast(Raster, getattr(self, verb)(**chosen))

    def cloud_mask(
        self,
        clouds: Any = None,
        *,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        refine: bool | None = None,
    ) -> xr.DataArray:
        """Return what `decloud` takes for cloud, with the same arguments: boolean (time, y, x), True = not clear.

        Examples:
            >>> mask = stack.ngr.cloud_mask("SCL", refine=False)  # stack = ngr_geo.sample()
            >>> mask.dtype, mask.dims
            (dtype('bool'), ('time', 'y', 'x'))
        """
        from .methods import leaks

        return leaks.mask(self._raster, leaks.Masking(clouds, classes, dilate, probability, refine))

    def prior(
        self,
        clouds: Any = None,
        *,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        refine: bool | None = None,
        method: Method = "auto",
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        prior: StackModel | PathLike | None = None,
        progress: bool | Progress | None = None,
    ) -> StackModel:
        """Return what `decloud` learns of a scene before it solves tiles, with the same arguments; at once, also of a lazy raster.

        Its `save("prior.safetensors")` keeps it; given to `decloud(prior=...)` on another scene or a later date its networks
        take the place of training, which is most of the time that a small scene takes.

        Examples:
            >>> two = stack.isel(time=[1, 3])
            >>> prior = two.ngr.prior("SCL", method="guide")  # "auto", the default, trains the networks, too
            >>> digest = prior.save("prior.safetensors")  # for decloud(prior="prior.safetensors")
        """
        from . import restore

        options = _options(progress=progress, method=method, device=device, seed=seed, steps=steps, prior=prior)
        return restore.learn(self._raster, restore.Masking(clouds, classes, dilate, probability, refine), options)

    def plan(
        self,
        clouds: Any = None,
        *,
        dates: Dates = None,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        refine: bool | None = None,
        method: Method = "auto",
        tile: int | None = 256,
        overlap: int = 32,
        aoi: Any = None,
    ) -> Plan:
        """Return what `decloud` would do with the same arguments: dates, cloud shares, tiles, memory, time."""
        from . import record, settings
        from .methods.leaks import Masking, clouded
        from .plan import plan

        begun = time.perf_counter()
        options = _options(method=method, tile=tile, overlap=overlap, aoi=aoi)
        settings.check(options)
        record.check(self._raster)
        how = Masking(clouds, classes, dilate, probability, refine)
        return plan(clouded(self._raster, how, now=True), dates, options, begun)


@xr.register_dataarray_accessor("ngr")
class DataArrayVerbs(_Verbs[xr.DataArray]):
    """`DataArray.ngr`, for (time, band, y, x) in any order; time and band may be absent."""


@xr.register_dataset_accessor("ngr")
class DatasetVerbs(_Verbs[xr.Dataset]):
    """`Dataset.ngr`, for one variable per band on (time, y, x) in any order."""


@xr.register_datatree_accessor("ngr")
class DataTreeVerbs(_Verbs[xr.Dataset]):
    """`DataTree.ngr`, for a tree whose bands `ngr_geo.open` finds without being told more; a verb returns them as a Dataset."""

    def __init__(self, tree: xr.DataTree) -> None:
        """Take the bands of the tree."""
        from .opening import open

        super().__init__(cast(xr.Dataset, open(tree)))


@overload
def verbs(raster: xr.DataArray) -> DataArrayVerbs: ...
@overload
def verbs(raster: xr.Dataset) -> DatasetVerbs: ...
def verbs(raster: xr.DataArray | xr.Dataset) -> DataArrayVerbs | DatasetVerbs:
    """Return `raster.ngr` with its type: to a type checker every attribute that xarray does not have itself is Any.

    `ngr_geo.verbs(raster).decloud()` is checked as it is written, and known to be a DataArray where the raster is one.

    Examples:
        >>> type(verbs(stack)).__name__
        'DatasetVerbs'
    """
    return DatasetVerbs(raster) if isinstance(raster, xr.Dataset) else DataArrayVerbs(raster)


def _options(
    *,
    progress: bool | Progress | None = None,
    work: PathLike | Folder | None = None,
    restart: bool = False,
    filled: Held = "coordinate",
    **chosen: Any,
) -> Options:
    """Return the keywords of a verb as one value; `recorded` puts `filled` in its place."""
    from .progress import Logged, ProgressBar
    from .settings import Options
    from .tiling.work import Folder

    shown = Logged(ProgressBar() if progress is True else progress or None)
    folder = work if work is None or isinstance(work, Folder) else Folder(work, restart)
    return Options(progress=shown, work=folder, **chosen)
