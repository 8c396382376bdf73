"""Files of one band each, put together by date: as agencies deliver Sentinel-2, Landsat, HLS and CBERS."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rasterio.enums import ColorInterp, Resampling

from ..errors import GridError, InputError, warn
from ..raster.masks import CLOUD_VARIABLES
from . import bands as naming
from . import maskfiles, rasters
from .bands import Named
from .dates import acquired
from .geotiff import Header, Part

Time = np.datetime64 | None


@dataclass(frozen=True)
class Gathered:
    """One header per date, sorted, with their times; masks that were among the inputs; what is to be said of all this."""

    headers: tuple[Header, ...]
    times: np.ndarray | None
    masks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What the user said of files and bands."""

    bands: Sequence[str] | None = None
    date_pattern: str | None = None
    band_pattern: str | None = None
    resolution: str | float | None = None
    nodata: str | float | None = None
    mask: str | None = None  # a kind of mask, such as SCL


@dataclass(frozen=True)
class _File:
    header: Header
    time: Time
    named: Named | None

    @property
    def size(self) -> float:
        return _size(self.header)


def gather(headers: Sequence[Header], wanted: Wanted) -> Gathered:
    """Return the inputs date by date; files of one band each are put together, masks and other layers set aside.

    Raises:
        InputError: files of one time that cannot be told apart, bands that some dates lack, several resolutions.
    """
    headers, mask_headers = _without_masks(headers)
    named = _named(headers, wanted)
    notes: list[str] = []
    if named is not None:
        asked = set(wanted.bands or ())
        layers = [name for name in named if not name.is_image and name.band not in asked]
        if 0 < len(layers) < len(headers):
            notes.append(f"Left out, as no bands to fill: {', '.join(sorted({layer.band for layer in layers}))}.")
            kept = [(h, n) for h, n in zip(headers, named, strict=True) if n not in layers]
            headers, named = [h for h, _ in kept], [n for _, n in kept]
    times = [_time(header, wanted.date_pattern) for header in headers]
    if len(headers) > 1 and any(time is None for time in times) and (named is None or len(set(times)) > 1):
        rasters.dates(headers, wanted.date_pattern)  # raises, with what it found
    bands: Sequence[Named | None] = named if named is not None else [None] * len(headers)
    files = [_File(*parts) for parts in zip(headers, times, bands, strict=True)]
    by_time: dict[Time, list[_File]] = defaultdict(list)
    for file in sorted(files, key=lambda file: str(file.time)):
        by_time[file.time].append(file)
    if named is None:
        _check_times(by_time)
        found = [group[0].header for group in by_time.values()]
    elif len(by_time) == len(files) and len({file.named.band for file in files if file.named}) == 1:
        found = [_with_name(file) for file in files_of(by_time)]  # one band on all dates: nothing to put together
    else:
        found = _put_together(by_time, wanted)
        names = ", ".join(str(name) for name in found[0].band_names)
        many = f"{len(found)} date" + ("s" if len(found) > 1 else "")
        notes.append(
            f"{len(files)} files of one band each are {many} with the bands {names}; each date is written as one GeoTIFF."
        )
    masks = _choose_masks(mask_headers, found[0], wanted)
    if mask_headers:
        aside = {header.name for header in mask_headers if header.path not in masks}
        used = sorted({maskfiles.searched_kind(header.name) or "" for header in mask_headers if header.path in masks})
        if used:
            notes.append(f"Among the inputs, {', '.join(used)} is the mask, and no band.")
        if aside:
            notes.append(f"Among the inputs, masks that are not used: {rasters.some(sorted(aside))}.")
    order = list(by_time)
    known = None if None in order else np.array(order, dtype="datetime64[ns]")
    return Gathered(tuple(found), known, masks, tuple(notes))


def files_of(by_time: Mapping[Time, Sequence[_File]]) -> list[_File]:
    """Return all files, in the order of their times."""
    return [file for group in by_time.values() for file in group]


def _without_masks(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """Return images and masks, told by name; where all would be masks, they are what is to be filled."""
    masks = [h for h in headers if maskfiles.searched_kind(h.name) and (h.count == 1 or "udm" in h.name.lower())]
    images = [header for header in headers if header not in masks]
    return (images, masks) if images else (list(headers), [])


def _named(headers: Sequence[Header], wanted: Wanted) -> list[Named] | None:
    """Return the band of each file, where all are files of one band whose names tell it."""
    several = [header for header in headers if header.count > 1 and _is_image(header)]
    if several and wanted.band_pattern is not None:
        msg = f"{several[0].path} has {several[0].count} bands, and a band pattern is for files of one band: leave it out."
        raise InputError(msg)
    if several or not headers:
        return None
    found = [naming.in_name(header.name, wanted.band_pattern) for header in headers]
    return None if any(name is None for name in found) else [name for name in found if name is not None]


def _is_image(header: Header) -> bool:
    named = naming.in_name(header.name)
    return named is None or named.is_image


def _time(header: Header, pattern: str | None) -> Time:
    """Return when a file was acquired: by its name or tags, or by its folder's name where the file is named by the band alone."""
    tags = rasters.all_tags(header)
    named = naming.in_name(header.name)
    if named is not None and not named.scene:
        return acquired(os.path.basename(os.path.dirname(os.path.abspath(header.path))), tags, pattern)
    return acquired(header.name, tags, pattern)


def _check_times(by_time: Mapping[Time, Sequence[_File]]) -> None:
    """Raise where two files are of the same time, and neither their bands nor their names tell them apart."""
    for time, group in by_time.items():
        if len(group) > 1:
            one, other = group[0].header, group[1].header
            what = "hold one band each, and their names do not tell which" if one.count == 1 else "hold the same bands"
            found = (
                f"{one.path} and {other.path} are both of {_moment(time)} and {what}. Expected one file per date, or one per "
                "date and band."
            )
            if one.count == 1:
                raise InputError(found, call=f"Say where the band stands: {naming.HELP}.")
            raise InputError(
                found, call="Give one of them, or say where the time of day stands: --date-pattern '%Y%m%dT%H%M%S'."
            )


def _put_together(by_time: Mapping[Time, Sequence[_File]], wanted: Wanted) -> list[Header]:
    grouped: list[tuple[Time, dict[str, list[_File]]]] = []
    for time, group in by_time.items():
        table: dict[str, list[_File]] = defaultdict(list)
        for file in group:
            assert file.named is not None
            table[file.named.band].append(file)
        grouped.append((time, table))
    bands = sorted({band for _, table in grouped for band in table}, key=naming.in_order)
    if wanted.bands and set(wanted.bands) <= set(bands):
        bands = list(dict.fromkeys(wanted.bands))
    _check_complete(grouped, bands)
    target = _target(grouped, bands, wanted.resolution)
    found = []
    for time, table in grouped:
        chosen = [_one(table[band], target, time) for band in bands]
        found.append(_joined(chosen, bands, _template(chosen, target), wanted))
    if any(part.resampling for part in found[0].parts):
        moved = ", ".join(band for band, part in zip(bands, found[0].parts, strict=True) if part.resampling)
        msg = f"Brought to pixels of {target:g} (bilinear, or averages): {moved}. Their values are resampled, not measured ones."
        warn(msg)
    return found


def _check_complete(grouped: Sequence[tuple[Time, Mapping[str, Sequence[_File]]]], bands: Sequence[str]) -> None:
    lacking = [(time, [band for band in bands if band not in table]) for time, table in grouped]
    lacking = [(time, missing) for time, missing in lacking if missing]
    if not lacking:
        return
    common = [band for band in bands if all(band in table for _, table in grouped)]
    what = "; ".join(f"{_moment(time)} has no {', '.join(missing)}" for time, missing in lacking[:4])
    more = f" and {len(lacking) - 4} more dates" if len(lacking) > 4 else ""
    found = f"Some dates lack bands that others have: {what}{more}. Expected the same bands on all dates: add the files"
    if not common:
        found += ", or leave these dates out."
        raise InputError(found)
    choice = f", leave these dates out, or work on the bands that all have: --bands {','.join(common)}"
    raise InputError(found + choice)


def _target(
    grouped: Sequence[tuple[Time, Mapping[str, Sequence[_File]]]], bands: Sequence[str], resolution: str | float | None
) -> float | None:
    """Return the size of the pixels that all bands are to have; None where they have one."""
    sizes: dict[float, set[str]] = defaultdict(set)
    for _, table in grouped:
        for band in bands:
            for file in table[band]:
                sizes[file.size].add(band)
    if len(sizes) == 1 and resolution is None:
        return None
    if resolution is None:
        what = "; ".join(f"{size:g}: {', '.join(sorted(sizes[size], key=naming.in_order))}" for size in sorted(sizes))
        finest = sorted(sizes[min(sizes)], key=naming.in_order)
        more = f", or work on some: --bands {','.join(finest)}" if set(finest) != set(bands) else ""
        msg = (
            f"The files have pixels of several sizes ({what}), and one is expected. Bring them to one: --resolution finest, "
            f"coarsest, or {sorted(sizes)[len(sizes) // 2]:g} (resolution= in Python){more}."
        )
        raise GridError(msg)
    if resolution in ("finest", "coarsest"):
        return min(sizes) if resolution == "finest" else max(sizes)
    try:
        asked = float(resolution)
    except ValueError:
        asked = float("nan")
    near = [size for size in sizes if abs(size - asked) <= 1e-3 * size]
    if not near:
        known = ", ".join(f"{size:g}" for size in sorted(sizes))
        msg = (
            f"Found resolution {resolution}, and the files have {known}. Expected one of these, finest or coarsest: --resolution "
            f"{min(sizes):g} (resolution= in Python)."
        )
        raise InputError(msg)
    return near[0]


def _one(files: Sequence[_File], target: float | None, time: Time) -> _File:
    """Return the file of a band: of several resolutions the one asked for, else the next finer, else the finest."""
    sizes = [file.size for file in files]
    if len(set(sizes)) < len(files):
        first, second = next((a, b) for i, a in enumerate(files) for b in files[:i] if a.size == b.size)
        assert first.named is not None
        msg = (
            f"{second.header.path} and {first.header.path} are both {first.named.band} of {_moment(time)}, and nothing tells them "
            f"apart. Expected one scene per run: leave one out or mosaic them first, or say where band and time stand: "
            f"--band-pattern, --date-pattern '%Y%m%dT%H%M%S'."
        )
        raise InputError(msg)
    if target is None:
        return files[0]
    fine = [file for file in files if file.size <= target * 1.001]
    return max(fine, key=lambda file: file.size) if fine else min(files, key=lambda file: file.size)


def _template(chosen: Sequence[_File], target: float | None) -> Header:
    """Return the file whose grid the others are brought to."""
    return next((file.header for file in chosen if target is None or file.size == target), chosen[0].header)


def _joined(chosen: Sequence[_File], bands: Sequence[str], template: Header, wanted: Wanted) -> Header:
    """Return one header for the bands of a date."""
    headers = [file.header for file in chosen]
    parts = []
    for header in headers:
        if rasters.grid_difference(template, header) is None:
            parts.append(Part(header.path))
        else:
            _check_extent(template, header, wanted)
            finer = _size(header) < _size(template)
            parts.append(Part(header.path, Resampling.average if finer else Resampling.bilinear))
    common = {
        key: value
        for key, value in headers[0].tags[""].items()
        if all(header.tags[""].get(key) == value for header in headers)
    }
    named = chosen[0].named
    assert named is not None
    folder = os.path.dirname(template.path)
    scene = named.scene or os.path.basename(os.path.abspath(folder))
    structure = dict(template.structure) if template.driver == "GTiff" else {"COMPRESSION": "DEFLATE", "PREDICTOR": "2"}
    return replace(
        template,
        path=os.path.join(folder, f"{scene}.tif"),
        driver="GTiff",
        dtypes=tuple(header.dtypes[0] for header in headers),
        nodata=headers[0].nodata,
        band_nodata=tuple(header.nodata for header in headers),
        band_names=tuple(bands),
        colorinterp=(ColorInterp.gray,) + (ColorInterp.undefined,) * (len(bands) - 1),
        scales=tuple(header.scales[0] for header in headers),
        offsets=tuple(header.offsets[0] for header in headers),
        units=tuple(header.units[0] for header in headers),
        tags={"": common},
        band_tags=tuple(
            {key: value for key, value in header.tags[""].items() if key not in common} | dict(header.band_tags[0])
            for header in headers
        ),
        structure=structure,
        parts=tuple(parts),
    )


def _check_extent(template: Header, header: Header, wanted: Wanted) -> None:
    """Raise where two bands of a scene are not of the same ground, or are not brought to one grid on request."""
    coarse = max(_size(template), _size(header))
    corners = [
        np.subtract(rasters.corner(template, *at), rasters.corner(header, *other))
        for at, other in (((0, 0), (0, 0)), (template.shape, header.shape))
    ]
    apart = float(np.abs(corners).max())
    if template.crs != header.crs or apart > 1.01 * coarse or wanted.resolution is None:
        rasters.check_grid(template, header)
    inside = [rasters.corner(header, 0, 0), rasters.corner(header, *header.shape)]
    asked = [rasters.corner(template, 0, 0), rasters.corner(template, *template.shape)]
    beyond = max(
        max(min(a[i] for a in inside) - min(a[i] for a in asked), max(a[i] for a in asked) - max(a[i] for a in inside))
        for i in (0, 1)
    )
    if beyond > 1e-3 * coarse and header.nodata is None and wanted.nodata in (None, "none"):
        found = f"{header.path} ends before {template.path} does, and declares no nodata for what is beyond. Say which it is:"
        raise InputError(found, call="nodata=0", option="--nodata 0")


def _with_name(file: _File) -> Header:
    """Return the header with the band's name where the file does not tell it."""
    named = file.named
    assert named is not None
    return file.header if any(file.header.band_names) else replace(file.header, band_names=(named.band,))


def _choose_masks(masks: Sequence[Header], image: Header, wanted: Wanted) -> tuple[str, ...]:
    """Return of the masks among the inputs one for each date: of the likeliest kind, with pixels like the image's."""
    if not masks:
        return ()
    kinds = [(maskfiles.searched_kind(mask.name) or "").removeprefix("HLS ") for mask in masks]
    order = [kind for kind in CLOUD_VARIABLES if kind in kinds]
    best = next((kind for kind in order if wanted.mask and kind.lower() == wanted.mask.lower()), order[0])
    by_time: dict[Time, list[Header]] = defaultdict(list)
    for mask, kind in zip(masks, kinds, strict=True):
        if kind == best:
            by_time[_time(mask, None)].append(mask)
    near = _size(image)
    return tuple(min(group, key=lambda mask: (abs(_size(mask) - near), mask.path)).path for group in by_time.values())


def _size(header: Header) -> float:
    return round(float(np.hypot(header.transform.a, header.transform.d)), 6)


def _moment(time: Time) -> str:
    text = "no known date" if time is None else str(np.datetime_as_string(time, unit="s"))
    return text.removesuffix("T00:00:00")
