"""Files of one band each, put together by date: as agencies deliver Sentinel-2, Landsat, HLS and CBERS."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rasterio.enums import Resampling

from ..errors import GridError, InputError, warn
from ..raster.products import SEARCHED
from . import bands as naming
from . import maskfiles, rasters
from .bands import Named
from .dates import acquired
from .rasterfile import Band, Header, without_colours

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
    names: Mapping[str, str] = field(default_factory=dict)  # of bands that no file name says, by path


@dataclass(frozen=True)
class _File:
    """A file, when it was acquired, and the band that its name holds, where all files are of one band."""

    header: Header
    time: Time
    named: Named | None

    @property
    def size(self) -> float:
        return _size(self.header)

    @property
    def band(self) -> str:
        return self.named.band if self.named else ""


Scene = Mapping[str, Sequence[_File]]
"""The files of one date, by their bands; several of a band where it was delivered in several resolutions."""


def gather(headers: Sequence[Header], wanted: Wanted) -> Gathered:
    """Return the inputs date by date; files of one band each are put together, masks and other layers set aside.

    Raises:
        InputError: files of one time that cannot be told apart, bands that some dates lack, several resolutions.
    """
    headers, masks = _without_masks(headers)
    _check_sensors([header for header in headers if header.path not in wanted.names])
    files, notes = _dated(headers, wanted)
    by_time: dict[Time, list[_File]] = defaultdict(list)
    for file in sorted(files, key=lambda file: str(file.time)):
        by_time[file.time].append(file)
    if files[0].named is None:
        _check_times(by_time)
        found = [group[0].header for group in by_time.values()]
    elif len(by_time) == len(files) and len({file.band for file in files}) == 1:  # nothing to put together
        found = [_with_name(group[0]) for group in by_time.values()]
    else:
        found = _put_together(by_time, wanted)
        names = ", ".join(str(name) for name in found[0].band_names)
        many = f"{len(found)} date" + ("s" if len(found) > 1 else "")
        notes.append(
            f"{len(files)} files of one band each are {many} with the bands {names}; each date is written as one GeoTIFF."
        )
    chosen = _choose_masks(masks, found[0], wanted)
    if chosen:
        used = sorted({maskfiles.searched_kind(header.name) or "" for header in masks if header.path in chosen})
        notes.append(f"Among the inputs, {', '.join(used)} is the mask, and no band.")
    aside = sorted({header.name for header in masks if header.path not in chosen})
    if aside:
        notes.append(f"Among the inputs, masks that are not used: {rasters.some(aside)}.")
    times = None if None in by_time else np.array(list(by_time), dtype="datetime64[ns]")
    return Gathered(tuple(found), times, chosen, tuple(notes))


def _without_masks(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """Return images and masks, which their names tell apart; where all would be masks, they are what is to be filled."""
    masks = [h for h in headers if maskfiles.searched_kind(h.name) and (h.count == 1 or "udm" in h.name.lower())]
    images = [header for header in headers if header not in masks]
    return (images, masks) if images else (list(headers), [])


def _check_sensors(headers: Sequence[Header]) -> None:
    """Raise where files are of sensors that give one band number to several bands, or one band several numbers."""
    by_sensor: dict[str, str] = {}
    for header in headers:
        found = naming.sensor(header.name)
        if found is not None:
            by_sensor.setdefault(found, header.path)
    if len({naming.NUMBERING[sensor] for sensor in by_sensor}) > 1:
        one, other = sorted(by_sensor)[0], sorted(by_sensor)[-1]
        msg = (
            f"{by_sensor[other]} and {by_sensor[one]} are of {one} and {other}, whose bands of one number are not the same "
            "(band 4 is red in one and near infrared in the other, or band 5 is). Expected one sensor: give each by itself."
        )
        raise InputError(msg)


def _dated(headers: Sequence[Header], wanted: Wanted) -> tuple[list[_File], list[str]]:
    """Return the files with their times and bands, without layers that are no bands, and a note on these.

    Raises:
        InputError: several files, and one without a date.
    """
    named, notes = _named(headers, wanted), []
    layers = {name.band for name in named if name and not name.is_image and name.band not in (wanted.bands or ())}
    pairs = [(header, name) for header, name in zip(headers, named, strict=True) if not name or name.band not in layers]
    if layers and pairs:
        notes.append(f"Left out, as no bands to fill: {', '.join(sorted(layers))}.")
    else:
        pairs = list(zip(headers, named, strict=True))
    files = [_File(header, _time(header, wanted.date_pattern), name) for header, name in pairs]
    times = {file.time for file in files}
    if len(files) > 1 and None in times and (files[0].named is None or len(times) > 1):
        rasters.dates([file.header for file in files], wanted.date_pattern)  # raises, with what it found
    return files, notes


def _named(headers: Sequence[Header], wanted: Wanted) -> Sequence[Named | None]:
    """Return the band of each file, where all are files of one band whose names hold it; else None for each."""
    several = [header for header in headers if header.count > 1 and _is_image(header)]
    if several and wanted.band_pattern is not None:
        msg = f"{several[0].path} has {several[0].count} bands, and a band pattern is for files of one band: leave it out."
        raise InputError(msg)
    found = [] if several else [naming.in_name(header.name, wanted.band_pattern) for header in headers]
    found = [
        name and replace(name, band=wanted.names.get(header.path, name.band))
        for header, name in zip(headers, found, strict=False)
    ]
    return found if found and None not in found else [None] * len(headers)


def _is_image(header: Header) -> bool:
    named = naming.in_name(header.name)
    return named is None or named.is_image


def _time(header: Header, pattern: str | None) -> Time:
    """Return when a file was acquired: by its name or tags, or by its folder's name where the file is named by the band alone."""
    named = naming.in_name(header.name)
    bare = named is not None and not named.scene
    name = os.path.basename(os.path.dirname(os.path.abspath(header.path))) if bare else header.name
    return acquired(name, header.all_tags, pattern)


def _check_times(by_time: Mapping[Time, Sequence[_File]]) -> None:
    """Raise where two files are of the same time, and neither their bands nor their names tell them apart."""
    for time, group in by_time.items():
        if len(group) > 1:
            one, other = group[0].header, group[1].header
            what = "hold one band each, and their names do not tell which" if one.count == 1 else "hold the same bands"
            call = "Give one of them, or say where the time of day stands: --date-pattern '%Y%m%dT%H%M%S'."
            if one.count == 1:
                call = f"Say where the band stands: {naming.HELP}."
            found = (
                f"{one.path} and {other.path} are both of {_moment(time)} and {what}. Expected one file per date, or one per "
                "date and band."
            )
            raise InputError(found, call=call)


def _put_together(by_time: Mapping[Time, Sequence[_File]], wanted: Wanted) -> list[Header]:
    """Return one header for each date, with the bands that all have."""
    scenes: dict[Time, dict[str, list[_File]]] = {}
    for time, group in by_time.items():
        scenes[time] = defaultdict(list)
        for file in group:
            scenes[time][file.band].append(file)
    bands = sorted({band for scene in scenes.values() for band in scene}, key=naming.in_order)
    if wanted.bands and set(wanted.bands) <= set(bands):
        bands = list(dict.fromkeys(wanted.bands))
    _check_complete(scenes, bands)
    target = _target(scenes, bands, wanted.resolution)
    found = [_joined([_one(scene[band], target) for band in bands], target, wanted) for scene in scenes.values()]
    moved = ", ".join(str(band.name) for band in found[0].bands if band.resampling)
    if moved:
        msg = f"Brought to pixels of {target:g} (bilinear, or averages): {moved}. Their values are resampled, not measured ones."
        warn(msg)
    return found


def _check_complete(scenes: Mapping[Time, Scene], bands: Sequence[str]) -> None:
    """Raise where a date has not all bands."""
    missing = {time: [band for band in bands if band not in scene] for time, scene in scenes.items()}
    lacking = [f"{_moment(time)} has no {', '.join(names)}" for time, names in missing.items() if names]
    if not lacking:
        return
    common = [band for band in bands if all(band in scene for scene in scenes.values())]
    more = f" and {len(lacking) - 4} more dates" if len(lacking) > 4 else ""
    choice = ", leave these dates out, or work on the bands that all have: --bands " + ",".join(common)
    msg = (
        f"Some dates lack bands that others have: {'; '.join(lacking[:4])}{more}. Expected the same bands on all dates: add the "
        f"files{choice if common else ', or leave these dates out.'}"
    )
    raise InputError(msg)


def _target(scenes: Mapping[Time, Scene], bands: Sequence[str], resolution: str | float | None) -> float | None:
    """Return the size of the pixels that all bands are to have; None where they have one."""
    sizes: dict[float, set[str]] = defaultdict(set)
    for scene in scenes.values():
        for band in bands:
            for file in scene[band]:
                sizes[file.size].add(band)
    if resolution is None:
        if len(sizes) == 1:
            return None
        listed = {size: sorted(sizes[size], key=naming.in_order) for size in sorted(sizes)}
        finest = listed[min(sizes)]
        more = f", or work on some: --bands {','.join(finest)}" if set(finest) != set(bands) else ""
        msg = (
            f"The files have pixels of several sizes ({'; '.join(f'{size:g}: ' + ', '.join(n) for size, n in listed.items())}), "
            f"and one is expected. Bring them to one: --resolution finest, coarsest, or {list(listed)[len(sizes) // 2]:g} "
            f"(resolution= in Python){more}."
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


def _one(files: Sequence[_File], target: float | None) -> _File:
    """Return the file of a band: of several resolutions the one asked for, else the next finer, else the finest."""
    by_size: dict[float, _File] = {}
    for file in files:
        twin = by_size.setdefault(file.size, file)
        if twin is not file:
            msg = (
                f"{twin.header.path} and {file.header.path} are both {file.band} of {_moment(file.time)}, and nothing tells them "
                f"apart. Expected one scene per run: leave one out or mosaic them first, or say where band and time stand: "
                f"--band-pattern, --date-pattern '%Y%m%dT%H%M%S'."
            )
            raise InputError(msg)
    if target is None:
        return files[0]
    fine = [size for size in by_size if size <= target * 1.001]
    return by_size[max(fine) if fine else min(by_size)]


def _joined(chosen: Sequence[_File], target: float | None, wanted: Wanted) -> Header:
    """Return one header for the bands of a date, on the grid of one that has pixels of the size asked for."""
    headers = [file.header for file in chosen]
    template = next((file.header for file in chosen if target is None or file.size == target), headers[0])
    tags = headers[0].tags[""].items()
    common = {key: value for key, value in tags if all(header.tags[""].get(key) == value for header in headers)}
    bands = [_part(file, template, common, wanted) for file in chosen]
    folder = os.path.dirname(template.path)
    scene = (chosen[0].named and chosen[0].named.scene) or os.path.basename(os.path.abspath(folder))
    structure = dict(template.structure) if template.driver == "GTiff" else {"COMPRESSION": "DEFLATE", "PREDICTOR": "2"}
    return replace(
        template,
        path=os.path.join(folder, f"{scene}.tif"),
        driver="GTiff",
        bands=without_colours(bands),
        tags={"": common},
        structure=structure,
    )


def _part(file: _File, template: Header, common: Mapping[str, str], wanted: Wanted) -> Band:
    """Return a band that is a file of its own; tags that not all files have in common are the band's."""
    header, band = file.header, file.header.bands[0]
    resampling = None
    if rasters.grid_difference(template, header) is not None:
        _check_extent(template, header, wanted)
        resampling = Resampling.average if file.size < _size(template) else Resampling.bilinear
    tags = {key: value for key, value in header.tags[""].items() if key not in common} | dict(band.tags)
    return replace(band, name=file.band, tags=tags, file=header.path, resampling=resampling)


def _check_extent(template: Header, header: Header, wanted: Wanted) -> None:
    """Raise where two bands of a scene are not of the same ground, or are not brought to one grid on request."""
    coarse = max(_size(template), _size(header))
    asked, there = (np.array([rasters.corner(h, 0, 0), rasters.corner(h, *h.shape)]) for h in (template, header))
    if template.crs != header.crs or np.abs(asked - there).max() > 1.01 * coarse or wanted.resolution is None:
        rasters.check_grid(template, header)
    beyond = max(np.max(there.min(0) - asked.min(0)), np.max(asked.max(0) - there.max(0)))
    if beyond > 1e-3 * coarse and header.nodata is None and wanted.nodata in (None, "none"):
        found = f"{header.path} ends before {template.path} does, and declares no nodata for what is beyond. Say which it is:"
        raise InputError(found, call="nodata=0", option="--nodata 0")


def _with_name(file: _File) -> Header:
    """Return the header with the band's name where the file does not have it."""
    band = file.header.bands[0]
    return file.header if band.name else replace(file.header, bands=(replace(band, name=file.band),))


def _choose_masks(masks: Sequence[Header], image: Header, wanted: Wanted) -> tuple[str, ...]:
    """Return of the masks among the inputs one for each date: of the likeliest kind, with pixels like the image's."""
    if not masks:
        return ()
    kinds = [(maskfiles.searched_kind(mask.name) or "").removeprefix("HLS ") for mask in masks]
    order = [kind for kind in SEARCHED if kind in kinds]
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
