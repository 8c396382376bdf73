"""The accessors `DataArray.ngr` and `Dataset.ngr`: one verb per task, each one call to `restore`. They hold no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import xarray as xr

from .record import call_of, recorded

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure

    from .methods.checkpoint import Prior
    from .plan import Plan
    from .progress import Progress
    from .raster.selection import Dates
    from .settings import Options
    from .tiling.work import Folder

    PathLike = str | os.PathLike[str]

Raster = TypeVar("Raster", xr.DataArray, xr.Dataset)
Method = Literal["auto", "ngr", "guide", "paper"]
Noise = Literal["auto", "gaussian", "mixed"]


class _Verbs(Generic[Raster]):
    """The verbs, the same on both types; each returns the type it was called on."""

    def __init__(self, raster: Raster) -> None:
        """Take the raster; xarray makes a new accessor for every object."""
        self._raster: Any = raster

    @recorded
    def decloud(
        self,
        clouds: Any = None,
        *,
        dates: Dates = None,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        method: Method = "auto",
        tile: int = 256,
        overlap: int = 32,
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        tune: int = 0,
        prior: Prior | PathLike | None = None,
        uncertainty: bool = False,
        aoi: Any = None,
        work: PathLike | None = None,
        restart: bool = False,
        progress: bool | Progress | None = None,
    ) -> Raster:
        """Return the stack with its clouds removed.

        Clear pixels come back bit for bit, with CRS, nodata, dtype, coordinates, attributes, encoding and chunks. Pixels
        that are nodata on one date and not on all are filled, too. Eager in, eager out; Dask in, lazy out.

        Args:
            clouds: what is cloud: the name of a variable, a DataArray, or None: a well-known variable is looked for. CF flags are
                decoded, and so is a mask whose name says its product (SCL, QA_PIXEL, pixel_qa, BQA, Fmask, HLS, QA60, UDM2,
                OmniCloudMask, state_1km, cloud_probability: see `ngr_geo.raster.products`); else rename it. Or your own mask:
                booleans (True = cloud), or 0 and 1 without the name of a product. On any grid that can be aligned. All
                values of a mask are counted before it is read, also of a lazy one, unless it is boolean.
            dates: only these are filled, the others still help; ISO dates such as "2023-08-18". None: all.
            classes: the codes (of packed products: the numbers of the bits) that count as not clear, in place of the rule's own.
            dilate: grow the mask by so many pixels; None: 60 m, from 2 to 6 pixels, for products, and 0 for your own masks:
                booleans, 0 and 1 without the name of a product, and chosen classes of such a mask.
            probability: from which on a pixel is not clear, where the mask holds probabilities of cloud (0 to 1, or percent).
            method: "auto" keeps, per date, what does better on hidden pixels: "guide", a regression on the other dates, or
                "ngr", which refines it; "paper" is the published algorithm, which takes hours.
            tile: side of the window solved at a time, pixels.
            overlap: rim that tiles share, pixels.
            device: "cpu", "cuda", "cuda:1", "mps"; None: CUDA where there is any.
            seed: of everything random; same seed, same answer.
            steps: of training; None: stopped on hidden pixels ("paper": 15 000).
            tune: steps that the networks are trained on each tile before they are used there: 0 to 30.
            prior: networks learnt from another scene or date with as many bands and reference dates, as `prior()` returns them, or
                the file that it was saved to: used as they are, or trained for `steps` more steps. Still judged on this scene.
            uncertainty: also tell how far each filled pixel may be off: a coordinate `uncertainty` (for a Dataset one per variable,
                NAME_uncertainty), standard deviations in the raster's units, 0 where nothing was filled. Learnt from errors at
                hidden pixels; ± 1.645 of them cover about 90 % of what was hidden. NaN where too little could be hidden.
            aoi: restrict the work to an area of interest: polygons as a GeoDataFrame or GeoSeries, as GeoJSON (a mapping, in
                longitude and latitude), or a file that geopandas reads, in any CRS. Only tiles that touch it are solved; inside,
                the result is what it would be without aoi; beyond it nothing changes.
            work: a folder that keeps every tile when it is finished, and what was learnt. The tiles are then solved by this call,
                also where the raster is lazy (the result is still), and a call that was stopped goes on when it is repeated:
                the result then differs in nothing but `ngr_made`. The pixels of finished tiles are read again and compared;
                other ones than then are an error, damaged records are solved again. Tiles are read a few at a time and run on
                the active Dask cluster, if there is one; all its workers have to see the folder. It can be removed when the
                result has been computed.
            restart: start over, whatever the work folder holds of an earlier job; files of others are kept.
            progress: True for a bar, or a function of (stage, done, total).

        Returns:
            The same type, with a boolean coordinate `filled`: what was filled, by this verb or an earlier one. GeoTIFFs have no
            such coordinates: `result.filled.astype("uint8").rio.to_raster("NAME_filled.tif")` beside NAME.tif keeps it for the
            command line. Attributes `ngr_*` say how it was done: the method of each date and the error expected in its gaps;
            `repeat` makes the result again from them. Of a lazy raster `ngr_dates` has None for what only solving shows. That is
            computed with the pixels, as coordinates `ngr_*` along time: numbers, and `ngr_method` as flags (`flag_masks` and
            `flag_meanings` of the CF conventions). `result.ngr.record()` returns the whole record.

        Raises:
            InputError, MaskError, GridError: each says what was found, what was expected, and the call that mends it.
            TilesFailedError: with `work`, some tiles could not be read or solved; the others are kept.

        References:
            Xu et al., arXiv 2308.16612.
        """
        from . import restore

        options = _options(
            progress,
            work,
            restart,
            method=method,
            tile=tile,
            overlap=overlap,
            device=device,
            seed=seed,
            steps=steps,
            tune=tune,
            prior=prior,
            uncertainty=uncertainty,
            aoi=aoi,
        )
        return cast(Raster, restore.decloud(self._raster, clouds, dates, classes, dilate, probability, options))

    @recorded
    def inpaint(
        self,
        missing: Any = None,
        *,
        extent: Literal["footprint", "all"] = "footprint",
        dates: Dates = None,
        method: Method = "auto",
        tile: int = 256,
        overlap: int = 32,
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        tune: int = 0,
        prior: Prior | PathLike | None = None,
        uncertainty: bool = False,
        aoi: Any = None,
        work: PathLike | None = None,
        restart: bool = False,
        progress: bool | Progress | None = None,
    ) -> Raster:
        """Return the raster with its missing pixels filled.

        A single date of eight bands or more is filled as a spectral cube: each missing entry from the other bands of its pixel and
        from its surroundings.

        Args:
            missing: boolean, True = missing: a DataArray or array on (time, band, y, x), (time, y, x) or (y, x), or the name of
                a variable. None: nodata and NaN.
            extent: how far nodata is filled where no mask is given; all of a mask is. "footprint": not where no date has a valid
                value in any band. Of a single date holes count as inside, too: all but what reaches the border of the image through
                an opening wider than 16 pixels, or lies within 16 pixels of that, and but rows and columns at the border without
                any data. So missing scan lines and dead columns are filled, land that reaches the border is not, and an island is
                (give missing= to keep it). Found from the whole scene in one step, also where the raster is lazy. "all":
                everything.
            dates: as for `decloud`, and so are all other arguments.
            method: "auto", "ngr", "guide" or "paper".
            tile: side of the window solved at a time, pixels.
            overlap: rim that tiles share, pixels.
            device: of torch.
            seed: of everything random.
            steps: of training.
            tune: see `decloud`.
            prior: see `decloud`; not for a spectral cube.
            uncertainty: see `decloud`.
            aoi: see `decloud`.
            work: a folder that keeps finished tiles: see `decloud`.
            restart: start over, whatever the work folder holds.
            progress: True for a bar, or a function of (stage, done, total).

        Returns:
            The same type, as `decloud` does.

        Raises:
            InputError, MaskError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        options = _options(
            progress,
            work,
            restart,
            method=method,
            tile=tile,
            overlap=overlap,
            device=device,
            seed=seed,
            steps=steps,
            tune=tune,
            prior=prior,
            uncertainty=uncertainty,
            aoi=aoi,
            extent=extent,
        )
        return cast(Raster, restore.inpaint(self._raster, missing, dates, options))

    @recorded
    def denoise(
        self,
        noise: Noise = "auto",
        *,
        bad_bands: Sequence[str | int] | None = None,
        method: Method = "auto",
        tile: int = 320,
        overlap: int = 16,
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        uncertainty: bool = False,
        change: bool = False,
        aoi: Any = None,
        work: PathLike | None = None,
        restart: bool = False,
        progress: bool | Progress | None = None,
    ) -> Raster:
        """Return a cube of many bands with its noise removed.

        Bands that hold only nodata, bands flagged bad (by a coordinate or attribute `bbl`, `good_wavelengths` or `bad_bands`) and
        nodata pixels stay as they are and take no part.

        Args:
            noise: "gaussian": its level is estimated per band. "mixed": besides, impulses, saturation, stripes and dead lines.
                "auto": told by the tails of the residual.
            bad_bands: names or indices (from 0) of bands to leave out, besides those the raster flags.
            method: "guide": spectral subspace and sliding DCT; "ngr" refines it; "auto" keeps what does better on hidden entries;
                "paper" is the published algorithm, which takes hours.
            tile: side of the window solved at a time, pixels.
            overlap: rim that tiles share, pixels.
            device: of torch; None: CUDA where there is any.
            seed: of everything random.
            steps: of the solver; None: stopped on hidden entries ("paper": 4 000).
            uncertainty: also tell how far each value may be off: a coordinate `uncertainty`, standard deviations in the raster's
                units, 0 where nothing was changed. Learnt from what becomes of the result when it is made noisy once more.
            change: also tell what was added to each value: a coordinate `change`, in the raster's units.
            aoi: an area of interest beyond which nothing changes: see `decloud`.
            work: a folder that keeps finished tiles: see `decloud`.
            restart: start over, whatever the work folder holds.
            progress: True for a bar, or a function of (stage, done, total).

        Returns:
            The same type. Attributes `ngr_*` tell what was done, and `ngr_noise` the standard deviation of the noise per band, in
            the raster's units. The coordinate `filled` marks values that were filled, not corrected, by this verb or an
            earlier one.

        Raises:
            InputError: what was found, what was expected, and the call that mends it.

        References:
            Xu et al., arXiv 2308.16612; Bioucas-Dias & Nascimento 2008 (noise level and subspace); Dabov et al. 2007 (sliding DCT).
        """
        from . import restore

        options = _options(
            progress,
            work,
            restart,
            method=method,
            tile=tile,
            overlap=overlap,
            device=device,
            seed=seed,
            steps=steps,
            uncertainty=uncertainty,
            aoi=aoi,
        )
        return cast(Raster, restore.denoise(self._raster, noise, bad_bands, change, options))

    @recorded
    def destripe(
        self,
        direction: Literal["columns", "rows"] | None = None,
        *,
        bad_bands: Sequence[str | int] | None = None,
        method: Method = "auto",
        tile: int = 512,
        overlap: int = 16,
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        uncertainty: bool = False,
        change: bool = False,
        aoi: Any = None,
        work: PathLike | None = None,
        restart: bool = False,
        progress: bool | Progress | None = None,
    ) -> Raster:
        """Return a cube without stripes: offsets of columns or rows, in some or all bands, also slightly tilted ones.

        Lines without a stripe come back bit for bit.

        Args:
            direction: "columns" or "rows": along what the stripes run; None: found for each tile and date.
            bad_bands: as for `denoise`, and so are all other arguments.
            method: "auto", "ngr", "guide" or "paper".
            tile: side of the window solved at a time, pixels: the longer the lines, the surer their offsets.
            overlap: rim that tiles share, pixels.
            device: of torch.
            seed: of everything random.
            steps: of the solver.
            uncertainty: as for `denoise`, learnt from stripes that are put on the result, and removed once more.
            change: as for `denoise`.
            aoi: see `decloud`.
            work: a folder that keeps finished tiles: see `decloud`.
            restart: start over, whatever the work folder holds.
            progress: True for a bar, or a function of (stage, done, total).

        Returns:
            The same type, as `denoise` does.

        Raises:
            InputError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        options = _options(
            progress,
            work,
            restart,
            method=method,
            tile=tile,
            overlap=overlap,
            device=device,
            seed=seed,
            steps=steps,
            uncertainty=uncertainty,
            aoi=aoi,
        )
        return cast(Raster, restore.destripe(self._raster, direction, bad_bands, change, options))

    @recorded
    def fill_deadlines(
        self,
        lines: Any = None,
        *,
        bad_bands: Sequence[str | int] | None = None,
        method: Method = "auto",
        tile: int = 512,
        overlap: int = 16,
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        uncertainty: bool = False,
        aoi: Any = None,
        work: PathLike | None = None,
        restart: bool = False,
        progress: bool | Progress | None = None,
    ) -> Raster:
        """Return a cube with its dead lines filled: whole or partial, constant, zero or saturated, in some or all bands.

        All other values come back bit for bit.

        Args:
            lines: None: they are found (see `ngr_geo.masks.dead_lines`). Else indices of columns, {"columns": [...],
                "rows": [...]}, or a boolean mask on some of (time, band, y, x), True = dead.
            bad_bands: as for `denoise`, and so are all other arguments.
            method: "auto", "ngr", "guide" or "paper".
            tile: side of the window solved at a time, pixels.
            overlap: rim that tiles share, pixels.
            device: of torch.
            seed: of everything random.
            steps: of training.
            uncertainty: as for `denoise`, learnt from lines that are hidden.
            aoi: see `decloud`.
            work: a folder that keeps finished tiles: see `decloud`.
            restart: start over, whatever the work folder holds.
            progress: True for a bar, or a function of (stage, done, total).

        Returns:
            The same type, as `denoise` does; `filled` (band, y, x) marks the dead lines.

        Raises:
            InputError, MaskError: what was found, what was expected, and the call that mends it.
        """
        from . import restore

        options = _options(
            progress,
            work,
            restart,
            method=method,
            tile=tile,
            overlap=overlap,
            device=device,
            seed=seed,
            steps=steps,
            uncertainty=uncertainty,
            aoi=aoi,
        )
        return cast(Raster, restore.fill_deadlines(self._raster, lines, bad_bands, options))

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

    def record(self) -> list[dict[str, Any]]:
        """Return the record of this result, a row for each date: what was filled, the method kept, the errors expected.

        That is `json.loads(result.attrs["ngr_dates"])`, and for a result that was lazy also its coordinates `ngr_*` along time.
        Where these are still lazy they are computed, and that solves all tiles: call it on a result that is computed.
        """
        from . import rows

        return rows.of(self._raster)

    def tiles(self, work: PathLike) -> GeoDataFrame:
        """Return the finished tiles of a verb's work folder as a GeoDataFrame: polygons, what was done, expected error, seconds.

        See `index.of_folder`. `.to_parquet("tiles.parquet")` and `.to_file("tiles.gpkg")` write what QGIS opens.
        """
        from .raster import cube
        from .report import index

        return index.of_folder(cube.read(self._raster), work)

    def quicklook(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure of this raster, what was filled, and the result, for a notebook; see `pictures.quicklook`."""
        from .report.pictures import quicklook

        return quicklook(self._raster, result, dates=dates)

    def plot_expected(self, result: Raster) -> Figure:
        """Return a matplotlib figure of the error expected per date and band; see `charts.plot_expected`."""
        from .report.charts import plot_expected

        return plot_expected(result)

    def plot_uncertainty(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of how far what was filled may be off; see `pictures.plot_uncertainty`."""
        from .report.pictures import plot_uncertainty

        return plot_uncertainty(self._raster, result, dates)

    def plot_change(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of result - raster; see `pictures.plot_change`."""
        from .report.pictures import plot_change

        return plot_change(self._raster, result, dates)

    def report(
        self, result: Raster, path: PathLike, *, tiles: GeoDataFrame | None = None, overwrite: bool = False
    ) -> Path:
        """Write one HTML page on what a verb made of this raster, and return its path; see `report.save`.

        Args:
            result: what the verb returned, or what was read back of it with its attributes and coordinates.
            path: of the page.
            tiles: what `tiles(work)` returned, for a map of them; None: drawn as far as the result tells.
            overwrite: replace a file that is there.

        Raises:
            InputError: the two do not belong together, or nothing tells what was filled.
            OutputError: the file is there, or cannot be written.
        """
        from . import atomic
        from .report import page as report

        atomic.check(path, overwrite, "overwrite=True", "another path")
        return report.save(self._raster, result, path, tiles)

    def cloud_mask(
        self,
        clouds: Any = None,
        *,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
    ) -> xr.DataArray:
        """Return what `decloud` takes for cloud, with the same arguments: boolean (time, y, x), True = not clear."""
        from .raster import masks

        return masks.cloud_mask(self._raster, clouds, classes, dilate, probability)

    def prior(
        self,
        clouds: Any = None,
        *,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        method: Method = "auto",
        device: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        prior: Prior | PathLike | None = None,
        progress: bool | Progress | None = None,
    ) -> Prior:
        """Return what `decloud` learns of a scene before it solves tiles, with the same arguments; at once, also of a lazy raster.

        Its `save("prior.safetensors")` keeps it; given to `decloud(prior=...)` on another scene or a later date its networks
        take the place of training, which is most of the time that a small scene takes.
        """
        from . import restore

        options = _options(progress, None, False, method=method, device=device, seed=seed, steps=steps, prior=prior)
        return restore.learn(self._raster, clouds, classes, dilate, probability, options)

    def plan(
        self,
        clouds: Any = None,
        *,
        dates: Dates = None,
        classes: Sequence[int] | None = None,
        dilate: int | None = None,
        probability: float = 0.5,
        method: Method = "auto",
        tile: int = 256,
        overlap: int = 32,
        aoi: Any = None,
    ) -> Plan:
        """Return what `decloud` would do with the same arguments: dates, cloud shares, tiles, memory, time."""
        from .plan import plan

        options = _options(None, None, False, method=method, tile=tile, overlap=overlap, aoi=aoi)
        return plan(
            self._raster, clouds, dates=dates, classes=classes, dilate=dilate, probability=probability, options=options
        )


@xr.register_dataarray_accessor("ngr")
class DataArrayVerbs(_Verbs[xr.DataArray]):
    """`DataArray.ngr`, for (time, band, y, x) in any order; time and band may be absent."""


@xr.register_dataset_accessor("ngr")
class DatasetVerbs(_Verbs[xr.Dataset]):
    """`Dataset.ngr`, for one variable per band on (time, y, x) in any order."""


@overload
def verbs(raster: xr.DataArray) -> DataArrayVerbs: ...
@overload
def verbs(raster: xr.Dataset) -> DatasetVerbs: ...
def verbs(raster: xr.DataArray | xr.Dataset) -> DataArrayVerbs | DatasetVerbs:
    """Return `raster.ngr` with its type: to a type checker every attribute that xarray does not have itself is Any.

    `ngr_geo.verbs(raster).decloud()` is checked as it is written, and known to be a DataArray where the raster is one.
    """
    return DatasetVerbs(raster) if isinstance(raster, xr.Dataset) else DataArrayVerbs(raster)


def _options(progress: bool | Progress | None, work: PathLike | Folder | None, restart: bool, **chosen: Any) -> Options:
    """Return the keywords of a verb as one value."""
    from .settings import Options

    if progress is True:
        from .progress import ProgressBar

        progress = ProgressBar()
    folder = None
    if work is not None:
        from .tiling.work import Folder

        folder = work if isinstance(work, Folder) else Folder(work, restart)
    return Options(progress=progress or None, work=folder, **chosen)
