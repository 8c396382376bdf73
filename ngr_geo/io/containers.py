"""NetCDF files and Zarr stores: one of them holds the whole stack."""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from .. import record
from ..errors import InputError, MaskError
from ..raster import picking, products
from ..raster.grid import COLUMN_NAMES, ROW_NAMES
from ..record import LAYERS
from . import rasters, remote
from .formats import is_zarr
from .rasterfile import check_stored

_SPATIAL = {*ROW_NAMES, *COLUMN_NAMES}


def open_container(path: str, lazy: bool = False) -> xr.Dataset:
    """Return the whole file as a Dataset of raw values: neither masked nor scaled, so that every number can go back as it was.

    Raises:
        InputError: no such file, or not what its name says.
    """
    local = "://" not in path
    if local and not os.path.exists(path):
        msg = f"{path}: no such file. Expected a NetCDF file or Zarr store; check the path."
        raise InputError(msg)
    options: dict[str, Any] = {"decode_coords": "all", "mask_and_scale": False}
    kind, look = "NetCDF file", f"ncdump -h {path}"
    if is_zarr(path):
        kind, look, options["engine"] = "Zarr store", f"ls {path}", "zarr"
        check_codecs(Path(path)) if local else remote.file_system(path, InputError)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to open Zarr store with consolidated metadata")
            dataset = xr.open_dataset(path, chunks=None, **options)
            if lazy or dataset.nbytes > rasters.LARGE:
                dataset.close()
                if local:
                    what = " x ".join(f"{size} {name}" for name, size in dataset.sizes.items())
                    cut = "dataset.isel(x=slice(...), y=slice(...)) in Python."
                    check_stored(path, what, dataset.nbytes, _sizes(path), cut)
                return _with_crs(xr.open_dataset(path, chunks="auto", **options))
            with dataset:
                return _with_crs(dataset.load())
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        if reason.startswith("did not find a match"):  # a list of what could have read it follows
            reason = "its content is of no known kind"
        msg = f"{path} cannot be read as a {kind}: {reason}."
        raise InputError(
            msg, call=f"Try: xarray.open_dataset({path!r}).", option=f"Look at it ({look}), or fetch it again."
        ) from error


def _sizes(path: str) -> Iterator[int]:
    """Give the bytes of a file, or of those in a store, one after the other."""
    inside = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return map(os.path.getsize, inside if os.path.isdir(path) else (path,))


def check_codecs(store: Path) -> None:
    """Raise where an array of a Zarr store says that its chunks are pickles, which run code when they are read."""
    for folder in (store, *(part for part in store.iterdir() if part.is_dir())):
        for name in (".zarray", ".zmetadata", "zarr.json"):
            try:
                described = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # not there, or found out by Zarr
            if "pickle" in _codecs(described):
                msg = f"{folder} holds pickles, which are never loaded. Expected numbers: write the store anew without them."
                raise InputError(msg)


def _codecs(description: Any) -> set[str]:
    """Return the names of codecs in Zarr's description of arrays, without what users say of them."""
    if isinstance(description, list):
        return set().union(*map(_codecs, description))
    if not isinstance(description, dict):
        return set()
    named = {str(description.get(key, "")).removeprefix("numcodecs.") for key in ("id", "name")}
    inner = (value for key, value in description.items() if key != "attributes" and not key.endswith(".zattrs"))
    return named.union(*map(_codecs, inner))


def _with_crs(dataset: xr.Dataset) -> xr.Dataset:
    """Make the CRS a coordinate where the file forgot to say that it is one, and what an earlier verb wrote."""
    described = {"crs_wkt", "spatial_ref", "grid_mapping_name"}
    dataset = dataset.set_coords([name for name in record.own(dataset) if name in dataset.data_vars])
    return dataset.set_coords([name for name, variable in dataset.data_vars.items() if described & set(variable.attrs)])


def choose(
    dataset: xr.Dataset, path: str, bands: Sequence[str] | None, clouds: str | None
) -> xr.Dataset | xr.DataArray:
    """Return what the verbs work on: the only cube where there is one (see `picking`), else the Dataset.

    Args:
        dataset: all that is in the file.
        path: where it is from, for messages.
        bands: names of variables, or of values of the band coordinate; None for all.
        clouds: the mask variable, kept whatever the bands are.

    Raises:
        InputError: a band that is not there, or nothing that looks like an image.
    """
    images = [name for name, variable in dataset.data_vars.items() if _SPATIAL & set(map(str, variable.dims))]
    images = images or [name for name, variable in dataset.data_vars.items() if variable.ndim >= 2]
    if not images:
        msg = f"{path} holds no variable over y and x, only {', '.join(map(str, dataset.variables)) or 'nothing'}."
        raise InputError(msg)
    named = bands is not None and set(bands) <= set(map(str, images))
    if bands and named:
        keep = {*bands, *([clouds] if clouds else []), *map(str, products.masks_among(images))}
        dataset = dataset.drop_vars([name for name in images if str(name) not in keep])
    cube = picking.cube_of(dataset)
    if cube is not None:
        return with_bands(cube, path, bands) if bands and not named else cube
    if bands and not named:
        rasters.check_known(path, bands, [str(name) for name in images])
    return dataset


def with_bands(cube: xr.DataArray, path: str, bands: Sequence[str]) -> xr.DataArray:
    """Return a cube with some of its bands, by their names.

    Raises:
        InputError: a band that is not there.
    """
    rest = set(map(str, cube.dims)) - _SPATIAL - {"time"}
    band = next(iter(rest)) if len(rest) == 1 else "band"
    known = [str(value) for value in cube[band].values]
    rasters.check_known(path, bands, known)
    return cube.isel({band: [known.index(name) for name in bands]})


def find_mask(dataset: xr.Dataset) -> xr.DataArray | None:
    """Return the variable with a well-known mask name, or None."""
    names = products.masks_among(dataset.data_vars)
    return dataset[names[0]] if names else None


def mask_variable(dataset: xr.Dataset, path: str) -> xr.DataArray:
    """Return the mask in a file of its own: the variable with a well-known name, or the only one.

    Raises:
        MaskError: several variables, none with such a name.
    """
    mask = find_mask(dataset)
    names = list(dataset.data_vars)
    if mask is None and len(names) != 1:
        msg = f"{path} holds {len(names)} variables ({', '.join(map(str, names))}); expected one mask. Keep only that."
        raise MaskError(msg)
    return dataset[names[0]] if mask is None else mask


def by_band(raster: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the bands of a raster by their names; numbers that it has for every band become attributes of each."""
    numbers = [name for name, part in raster.coords.items() if part.dims == ("band",) and name != "band"]
    parts = {str(name): raster.sel(band=name) for name in raster["band"].values}
    return {
        name: part.drop_vars(["band", *numbers]).assign_attrs({str(key): part[key].item() for key in numbers})
        for name, part in parts.items()
    }


def assemble(result: xr.Dataset | xr.DataArray, dataset: xr.Dataset | None) -> xr.Dataset:
    """Return the result of a verb as the Dataset to be written.

    A DataArray from raster files becomes one variable per band, as the verbs on Datasets expect; a variable of a
    Dataset goes back among the others. What the verb notes about itself (ngr_*) moves to the Dataset's attributes.

    Args:
        result: from a verb.
        dataset: the Dataset that the result is a part of, or None.
    """
    if dataset is not None:
        dataset = dataset.drop_vars(record.own(dataset))
    if isinstance(result, xr.Dataset):
        if dataset is None:
            return result
        return result.assign({name: dataset[name] for name in dataset.data_vars if name not in result.variables})
    if dataset is not None:
        return picking.put_back(result, dataset)
    notes = record.notes_in(result.attrs)
    kept = {key: value for key, value in result.attrs.items() if key not in notes}
    result = result.copy(deep=False)
    result.attrs = kept
    if "time" not in result.dims and "wavelength" in result.coords:  # a spectrometer's cube: one variable
        return result.to_dataset(name=result.name or "image").assign_attrs(notes)
    filled = result.coords["filled"]
    if "band" in filled.dims:
        filled = filled.any("band")
    bands = by_band(result.drop_vars(["filled", *LAYERS], errors="ignore"))
    if record.FILLED in bands:
        msg = "Found a band named 'filled', and a NetCDF file or Zarr store has a variable of that name for what was filled."
        raise InputError(msg, call="Write to GeoTIFFs, or rename the band.")
    out = xr.Dataset(bands).assign_coords(filled=filled)
    for kind in (layer for layer in LAYERS if layer in result.coords):
        parts = {name: result.coords[kind].sel(band=name).variable for name in bands}
        out = out.assign_coords({f"{name}_{kind}": part for name, part in parts.items()})
    return (out if result.rio.crs is None else out.rio.write_crs(result.rio.crs)).assign_attrs(notes)
