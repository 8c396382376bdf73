"""Sentinel-2 Level 2A as EOPF Zarr, and any `xarray.DataTree`: bands of one size of pixels, with SCL.

ESA, EOPF product structure of Sentinel-2 Level 2A: `measurements/reflectance/r10m`, `r20m`, `r60m` hold bands of these sizes,
`conditions/mask/l2a_classification` holds `scl`; the root's `stac_discovery` says CRS and time. Stored numbers have `scale_factor`
and `add_offset`, which stay as they are.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from ...errors import GridError, InputError
from ...raster import picking
from ...raster.grid import align
from .. import containers
from ..bands import in_order
from ..gather import Wanted
from ..rasters import LARGE
from .base import Content, Reader

_REFLECTANCE = "measurements/reflectance"
_CLASSES = "conditions/mask/l2a_classification"
_GROUPS = ("r10m", "r20m", "r60m")
Group = Callable[[str], xr.Dataset | None]
"""Returns the Dataset of a group by its path, None where there is none."""


def recognise(path: str) -> bool:
    """Return whether a path is a Zarr store with reflectance as EOPF lays it out."""
    return os.path.isdir(os.path.join(path, _REFLECTANCE))


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the bands of one size of pixels, and SCL; several products are dates of a stack."""
    found = []
    for path in paths:
        with xr.open_dataset(path, engine="zarr", consolidated=False) as root:
            found.append(_product(_stored(path), root.attrs, path, wanted))
    found = sorted(found, key=lambda part: str(part.coords["time"].values) if "time" in part.coords else "")
    stack = found[0] if len(found) == 1 else _stacked(found, paths)
    if not lazy and stack.nbytes <= LARGE:
        stack = stack.load()
    return Content(raster=stack, clouds="SCL" if "SCL" in stack else None)


def of_tree(tree: xr.DataTree, wanted: Wanted) -> xr.Dataset:
    """Return the bands of a tree: of EOPF those of one size with SCL, of any other tree the only node with rows and columns.

    Raises:
        InputError: no such node, or several.
    """

    def group(path: str) -> xr.Dataset | None:
        try:
            node = tree[path]
        except KeyError:
            return None
        return node.to_dataset() if isinstance(node, xr.DataTree) else None

    if group(_REFLECTANCE) is not None:
        return _product(group, tree.attrs, tree.name or "the tree", wanted)
    datasets = {node.path: node.to_dataset() for node in tree.subtree}
    nodes = {path: found for path, found in datasets.items() if any(map(picking.in_space, found.data_vars.values()))}
    if len(nodes) != 1:
        msg = f"Found {len(nodes)} nodes with rows and columns in a DataTree ({', '.join(nodes) or 'none'}), expected one:"
        raise InputError(msg, call="call the verb on one of them, tree['PATH'].to_dataset().ngr.")
    return next(iter(nodes.values()))


def _stored(path: str) -> Group:
    """Return what opens the groups of a store, raw and lazy."""

    def group(name: str) -> xr.Dataset | None:
        place = Path(path, name)
        if not place.is_dir():
            return None
        containers.check_codecs(place)
        options: dict[str, Any] = {"mask_and_scale": False, "consolidated": False}
        return xr.open_dataset(path, engine="zarr", group=name, chunks={}, **options)

    return group


def _product(group: Group, attrs: Mapping[Any, Any], source: str, wanted: Wanted) -> xr.Dataset:
    """Return the bands of one size of a product, with SCL on their grid, CRS and time."""
    sizes = {name: found for name in _GROUPS if (found := group(f"{_REFLECTANCE}/{name}")) is not None}
    bands = sizes[_chosen(sizes, source, wanted)]
    known = {name.lower(): name for name in _names(bands)}
    keep = [known[name.lower()] for name in wanted.bands] if wanted.bands else list(known.values())
    properties = (attrs.get("stac_discovery") or {}).get("properties") or {}
    code = properties.get("proj:code") or properties.get("proj:epsg") or bands[keep[0]].attrs.get("proj:epsg")
    code = code or (attrs.get("other_metadata") or {}).get("horizontal_CRS_code")
    if not code:
        msg = f"{source} does not say its CRS (stac_discovery.properties['proj:code']), expected an EPSG code."
        raise InputError(msg, call="Set it with dataset.rio.write_crs(...) on a node of the tree.")
    out = bands[keep].rio.write_crs(code if isinstance(code, str) and ":" in code else f"EPSG:{int(code)}")
    for place in (f"{_CLASSES}/{name}" for name in _GROUPS):
        classes = group(place)
        if classes is not None and "scl" in classes:
            mask = classes["scl"].rename("SCL").rio.write_crs(out.rio.crs)
            out = out.assign(SCL=align(mask, out).drop_vars([*mask.coords], errors="ignore"))
            break
    time = properties.get("start_datetime") or properties.get("datetime")
    return out.assign_coords(time=np.datetime64(str(time).rstrip("Z"), "ns")) if time else out


def _chosen(sizes: Mapping[str, xr.Dataset], source: str, wanted: Wanted) -> str:
    """Return the group of the size of pixels that is asked for, or the only one with all bands that are asked for."""
    names = {size: _names(found) for size, found in sizes.items()}
    listing = "; ".join(f"{size.strip('rm')} m: {', '.join(bands)}" for size, bands in names.items())
    asked = {name.lower() for name in wanted.bands or ()}
    fitting = [size for size, bands in names.items() if asked <= {band.lower() for band in bands}]
    if not fitting:
        msg = f"{source} has no size of pixels with all of {', '.join(wanted.bands or ())}; it has {listing}."
        raise InputError(
            msg, call="Choose bands of one size: bands=[...].", option="Choose bands of one size: --bands."
        )
    if wanted.resolution is not None:
        named_sizes = {"finest": fitting[0], "coarsest": fitting[-1]}
        metres = re.sub(r"\.0*$", "", str(wanted.resolution))
        chosen = named_sizes.get(metres, f"r{metres}m")
        if chosen in fitting:
            return chosen
    elif len(fitting) == 1:
        return fitting[0]
    msg = f"{source} has bands with pixels of several sizes ({listing}), and bands of one of them are read. Say which:"
    raise GridError(
        msg, call="resolution=20 (or finest, coarsest), and bands=[...].", option="--resolution 20, and --bands."
    )


def _names(bands: xr.Dataset) -> list[str]:
    """Return the bands of a group in the order of their numbers; a store has none."""
    return sorted((str(name) for name, part in bands.data_vars.items() if part.ndim >= 2), key=in_order)


def _stacked(found: Sequence[xr.Dataset], paths: Sequence[str]) -> xr.Dataset:
    """Return products of one tile as the dates of a stack."""
    for path, part in zip(paths, found, strict=True):
        same = all(part.sizes[dim] == found[0].sizes[dim] and (part[dim] == found[0][dim]).all() for dim in ("y", "x"))
        if not same or part.rio.crs != found[0].rio.crs or "time" not in part.coords:
            msg = f"{path} is not on the grid of {paths[0]}, or has no time. Expected products of one tile: give these."
            raise GridError(msg)
    return xr.concat(found, "time", data_vars="all", coords="minimal", compat="override", combine_attrs="override")


READER = Reader(
    "eopf",
    "Sentinel-2 Level 2A, EOPF Zarr",
    f"a Zarr store with {_REFLECTANCE}",
    recognise,
    read,
)
