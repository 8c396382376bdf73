"""STAC items for written results: one for each GeoTIFF, or one for a NetCDF file or Zarr store with all its dates.

    items = ngr_geo.stac.items(result, files)  # pystac.Item, with the processing and projection extensions
    ngr_geo.stac.save(items)                   # NAME.stac.json beside each file

What a verb noted about itself (attributes ngr_*) is in the properties as ngr:*; of the dates only an item's own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine
from rasterio.enums import WktVersion

from .. import atomic
from .. import rows as records
from ..atomic import PathLike
from ..errors import InputError, OutputError, needed
from ..io import Written, formats
from ..io.rasterfile import Header, read_header
from ..raster import cube as cubes
from ..raster.cube import Cube
from ..wording import counted
from .facts import TITLES

if TYPE_CHECKING:
    import pystac

EXTENSIONS = (
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
EDGE_POINTS = 21
"""Points along each side of an outline that are brought to longitude and latitude, where it is no straight line any more."""
TOLERANCE = 1e-5
"""Degrees, a metre: points of an outline nearer than that to a straight line are left out."""
_LEVELS = {"decloud": "L3", "inpaint": "L3"}
"""What is put together from several dates or estimated is of level 3; other verbs leave the level of their input, unknown here."""
_ELSEWHERE = ("ngr_version", "ngr_call", "ngr_made", "ngr_dates")
"""Notes that have a field of STAC's, or belong to single dates."""


def items(
    result: xr.DataArray | xr.Dataset, files: Written | PathLike | Sequence[PathLike], quicklook: PathLike | None = None
) -> list[pystac.Item]:
    """Return a STAC item for each file that holds a result. Nothing is written, and no pixel is read or computed.

    Args:
        result: what a verb returned, with the times of its dates (UTC).
        files: the GeoTIFFs that you wrote, one for each date in the result's order, or the NetCDF file or Zarr store with all of
            it; or what `io.write_stack` returned, which knows of the files beside them, too.
        quicklook: a picture of the result.

    Returns:
        Items whose place is NAME.stac.json beside their file, and whose assets are named relative to that.

    Raises:
        InputError: pystac is not installed; no result of a verb; no times; another number of files than of dates.

    Examples:
        >>> item = items(clear, "clear.nc")[0]  # clear: what a verb returned
        >>> item.properties["processing:software"] == {"ngr_geo": clear.attrs["ngr_version"]}
        True
    """
    if "ngr_verb" not in result.attrs:
        msg = "Found no record of a verb (ngr_verb) in the attributes, expected a result of ngr_geo: pass what a verb returned."
        raise InputError(msg)
    given = [files] if isinstance(files, str | os.PathLike) else files
    written = given if isinstance(given, Written) else Written(tuple(map(Path, given)))
    _check_names(written.rasters)
    cube = cubes.read(result)
    times = _times(cube)
    rows = records.of(result, compute=False) or [{} for _ in times]
    together = formats.container(str(written.rasters[0]))
    groups = [(times, rows)] if together else [([t], [row]) for t, row in zip(times, rows, strict=True)]
    if len(groups) != len(written.rasters):
        msg = (
            f"Found {len(written.rasters)} files for {len(times)} dates, expected a GeoTIFF for each date in the order of time, "
            "or one NetCDF file or Zarr store: pass those that were written."
        )
        raise InputError(msg)
    kinds = (written.filled, written.uncertainty, written.change)
    sidecars = zip(*(side or (None,) * len(groups) for side in kinds), strict=True)
    parts = zip(groups, written.rasters, sidecars, strict=True)
    return [_item(result, cube, *group, path, beside, quicklook) for group, path, beside in parts]


def place(path: PathLike) -> Path:
    """Return where the item of a file is written: NAME.stac.json beside it.

    Examples:
        >>> place("clear.nc").name
        'clear.stac.json'
    """
    return Path(os.path.abspath(path)).with_name(f"{Path(path).stem}.stac.json")


def check(raster: xr.DataArray | xr.Dataset, written: Written, overwrite: bool = False) -> None:
    """Raise where items for the files that will hold a result of this raster could not be written, before hours of work.

    Raises:
        InputError: pystac is not installed, or the raster has no times.
        OutputError: an item is there already.
    """
    _libraries()
    _times(cubes.read(raster))
    _check_names(written.rasters)
    _check_free([place(path) for path in written.rasters], overwrite)


def save(items: Iterable[pystac.Item], overwrite: bool = False) -> tuple[Path, ...]:
    """Write each item at its place, whole or not at all, and return these places.

    Raises:
        OutputError: one is there already, or cannot be written.
    """
    texts = {Path(item.self_href): item.to_dict(include_self_link=False) for item in items}
    _check_free(list(texts), overwrite)
    for path, content in texts.items():
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        atomic.write(path, text.encode("utf-8"), "Free some space, or choose another place.")
    return tuple(texts)


def footprint(crs: Any, transform: Affine, shape: tuple[int, int]) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Return the outline of a grid (rows, columns) as GeoJSON in longitude and latitude, and its west, south, east, north.

    Across the antimeridian the outline has two parts and west is greater than east (RFC 7946). None without a CRS, and where a
    corner is not on the Earth (the full disk of a geostationary satellite): STAC calls such items unlocated.
    """
    antimeridian, shapely = _libraries()[1:]
    rows, columns = shape
    along = np.linspace(0, 1, EDGE_POINTS + 1, endpoint=False)
    zero = np.zeros_like(along)
    right, down = np.concatenate([along, zero + 1, 1 - along, zero]), np.concatenate([zero, along, zero + 1, 1 - along])
    x, y = right * columns, down * rows
    x, y = transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f
    if transform.determinant < 0:  # rows count downwards: seen on the map, this went clockwise
        x, y = x[::-1], y[::-1]
    if crs is None:
        return None, None
    to_degrees = pyproj.Transformer.from_crs(crs.to_wkt(version=WktVersion.WKT2_2019), 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        return None, None
    outline = shapely.Polygon(np.stack([longitude, latitude], axis=-1))
    whole = antimeridian.fix_polygon(outline, great_circle=False)
    bbox = [round(side, 7) for side in antimeridian.bbox(whole)]
    whole = shapely.transform(whole.simplify(TOLERANCE), lambda points: np.round(points, 7))
    return json.loads(json.dumps(shapely.geometry.mapping(whole))), bbox


def _item(
    result: xr.DataArray | xr.Dataset,
    cube: Cube,
    times: Sequence[datetime],
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    beside: Sequence[Path | None],
    quicklook: PathLike | None,
) -> pystac.Item:
    """Return the item of one file, which holds the dates of `times`; `beside`: files of filled pixels, uncertainty, change."""
    pystac = _libraries()[0]
    header = None if formats.container(str(path)) else read_header(str(path))
    located = cube.raster.rio.set_spatial_dims(*reversed(cube.dims[2:])).rio
    crs, transform, shape = located.crs, located.transform(recalc=True), cube.shape[-2:]
    if header is not None:
        crs, transform, shape = header.crs, header.transform, header.shape
    geometry, bbox = footprint(crs, transform, shape)
    one = min(times) == max(times)
    item = pystac.Item(
        id=path.stem,
        geometry=geometry,
        bbox=bbox,
        datetime=times[0] if one else None,
        start_datetime=None if one else min(times),
        end_datetime=None if one else max(times),
        properties=_plain({**_processing(result.attrs, rows), **_notes(result.attrs, rows)}),
        stac_extensions=list(EXTENSIONS),
        href=str(place(path)),
    )
    authority = crs.to_authority() if crs else None
    pystac.extensions.projection.ProjectionExtension.ext(item).apply(
        code=":".join(authority) if authority else None,
        wkt2=crs.to_wkt(version=WktVersion.WKT2_2019) if crs and not authority else None,
        shape=list(shape),
        transform=[float(v) for v in transform[:6]],
    )
    for name, file, media, role, bands in _assets(path, header, cube, beside, quicklook):
        href = Path(os.path.relpath(file, place(path).parent)).as_posix()
        asset = pystac.Asset(f"./{href}", media_type=media, roles=[role], extra_fields=_plain(bands))
        item.add_asset(name, asset)
    return item


def _assets(
    path: Path, header: Header | None, cube: Cube, beside: Sequence[Path | None], quicklook: PathLike | None
) -> Iterator[tuple[str, Path, str, str, dict[str, Any]]]:
    """Give name, file, media type, role and bands of each asset."""
    from pystac import MediaType

    if header is None:
        known = formats.container(path)
        yield "data", path, known.media if known else "", "data", _stored_bands(cube)
    else:
        yield "data", path, _media(header), "data", _file_bands(header)
    for head in Written((path,)).beside:
        yield "header", head, MediaType.TEXT, "metadata", {}
    roles = {"filled": "data-mask", "uncertainty": "uncertainty", "change": "data"}
    for (name, role), file in zip(roles.items(), beside, strict=True):
        if file is not None:
            side = read_header(str(file))
            yield name, file, _media(side), role, _file_bands(side)
    if quicklook is not None:
        yield "quicklook", Path(quicklook), MediaType.PNG, "overview", {}


def _media(header: Header) -> str:
    from pystac import MediaType

    if header.driver != "GTiff":
        known = formats.by_ending(header.path)
        return known.media if known else "application/octet-stream"
    return MediaType.COG if header.is_cog else MediaType.GEOTIFF


def _file_bands(header: Header) -> dict[str, Any]:
    """Return the fields of STAC 1.1 that describe the bands of a file."""
    names = [name or str(number) for number, name in enumerate(header.band_names, start=1)]
    return _bands(names, header.dtypes, [header.nodata] * header.count)


def _stored_bands(cube: Cube) -> dict[str, Any]:
    """Return the same of a NetCDF file or Zarr store, as its encoding stores the bands."""
    parts = cube.variables if cube.names else cube.variables * len(cube.bands)
    dtypes = [np.dtype(part.encoding.get("dtype", part.dtype)).name for part in parts]
    nodata = [part.encoding.get("_FillValue", part.attrs.get("_FillValue")) for part in parts]
    return _bands(cube.bands, dtypes, [None if n is None else float(n) for n in nodata])


def _bands(names: Sequence[str], dtypes: Sequence[str], nodata: Sequence[float | None]) -> dict[str, Any]:
    """Return `bands`; what they all share is given once, as STAC recommends."""
    fields = [
        {"data_type": d} if n is None else {"data_type": d, "nodata": _number(n)}
        for d, n in zip(dtypes, nodata, strict=True)
    ]
    if all(field == fields[0] for field in fields):
        return {**fields[0], "bands": [{"name": name} for name in names]}
    return {"bands": [{"name": name, **field} for name, field in zip(names, fields, strict=True)]}


def _number(value: float) -> float | int | str:
    """Return a nodata value as STAC writes it."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) else value


def _processing(attrs: Mapping[Any, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of the processing extension."""
    verb = str(attrs["ngr_verb"])
    found: dict[str, Any] = {
        "processing:software": {"ngr_geo": str(attrs["ngr_version"])},
        "processing:lineage": _lineage(attrs, rows),
    }
    if verb in _LEVELS:
        found["processing:level"] = _LEVELS[verb]
    if "ngr_call" in attrs:
        expression = {"verb": verb, "keywords": json.loads(attrs["ngr_call"])}
        found["processing:expression"] = {"format": "ngr_geo", "expression": expression}
    if "ngr_made" in attrs:
        found["processing:datetime"] = str(attrs["ngr_made"]).replace("+00:00", "Z")
    return found


def _lineage(attrs: Mapping[Any, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what was done, in sentences."""
    verb, settings = str(attrs["ngr_verb"]), json.loads(attrs["ngr_settings"])
    kept = "+".join(dict.fromkeys(row["method"] for row in rows if row.get("method", "none") != "none"))
    method = f"method {settings['method']}" + (f", kept {kept}" if kept and kept != settings["method"] else "")
    text = [f"{TITLES[verb]} by ngr_geo {attrs['ngr_version']} ({method}, seed {settings['seed']})."]
    mask = json.loads(attrs.get("ngr_mask", "{}"))
    if mask:
        codes = [f"{kind} {', '.join(map(str, mask[kind]))}" for kind in ("classes", "bits") if kind in mask]
        grown = [f"grown by {mask['dilate']} pixels"] if "dilate" in mask else []
        text.append(f"Mask: {', '.join([mask['source'], *codes, *grown])}.")
    share = [row.get("filled") for row in rows]
    if all(s is not None for s in share):
        text.append(f"{float(np.mean(np.asarray(share, float))):.1%} of the pixels were filled.")
    for row in rows if len(rows) == 1 else ():
        errors = row.get("expected", {}).get("rmse", {})
        if errors:
            text.append(
                f"Error (RMSE) expected there: {', '.join(f'{b} {e:g}' for b, e in errors.items() if e is not None)}."
            )
    return " ".join(text)


def _notes(attrs: Mapping[Any, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the verb's notes as properties ngr:*, those of a single date side by side with the rest."""
    found = {f"ngr:{key[4:]}": _read(attrs[key]) for key in attrs if key.startswith("ngr_") and key not in _ELSEWHERE}
    if len(rows) > 1:
        return found | {"ngr:dates": list(rows)}
    return found | {f"ngr:{key}": value for key, value in rows[0].items() if key != "date"}


def _read(note: Any) -> Any:
    """Return a note, most of which are JSON."""
    try:
        return json.loads(note)
    except (TypeError, ValueError):
        return str(note)


def _plain(value: Any) -> Any:
    """Return a value as strict JSON can hold it: numbers that are none become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _times(cube: Cube) -> list[datetime]:
    """Return the time of each date, in UTC as rasters have it."""
    lost = [date for date, day in zip(cube.dates, cube.days, strict=True) if not np.isfinite(day)]
    if lost:
        msg = f"Found no time for {len(lost)} of {counted(len(cube.dates), 'date')}, expected one for each STAC item:"
        raise InputError(
            msg,
            call="raster.assign_coords(time=np.datetime64('2023-08-18')).",
            option="say where names hold it (--date-pattern 'S2_%Y%m%d'), or write it into the file (rio edit-info FILE --tag "
            "ACQUISITION_DATE=2023-08-18).",
        )
    return [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(day * 86400)) for day in cube.days.tolist()]


def _check_names(paths: Sequence[Path]) -> None:
    """Raise where a path cannot be part of a link: these have no control characters, and lose them without a word."""
    odd = [str(path) for path in paths if any(ord(letter) < 32 for letter in os.path.abspath(path))]
    if odd:
        msg = f"Found control characters in {odd[0]!r}, expected a path that a link can hold: rename it"
        raise InputError(msg, call="before items are made.", option="or leave --stac out.")


def _check_free(paths: Sequence[Path], overwrite: bool) -> None:
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and (not overwrite or there[0].is_dir()):
        msg = f"{there[0]} is already there. Use another place for the files, or"
        raise OutputError(msg, call="overwrite=True.", option="--overwrite")


def _libraries() -> tuple[Any, ...]:
    """Return pystac, antimeridian and shapely; pystac's extension for grids is there, too."""
    what = "STAC items need pystac and antimeridian, which are"
    return needed(what, "stac", "pystac", "antimeridian", "shapely", "pystac.extensions.projection")[:3]
