"""Datasets with one cube and layers beside it, as readers of imaging spectrometers give them: which variable is the cube."""

import re
from collections.abc import Hashable

import xarray as xr

from .. import record
from ..errors import InputError
from ..wording import listed
from . import products
from .grid import COLUMN_NAMES, ROW_NAMES, TIME_NAMES, named

LEAST_BANDS = 8
"""A variable with a third dimension is a cube from so many entries on, where the Dataset has bands of their own, too."""
_LAYER = re.compile(r"_(unc|uncert\w*|std\w*|err|errors?|sigma|quality)$", re.IGNORECASE)


def cube_name(dataset: xr.Dataset) -> Hashable | None:
    """Return the name of the only variable that has bands, rows and columns; None for a Dataset with one variable per band.

    Layers of quality are none, nor is NAME_unc beside NAME, as a standard deviation of it.

    Raises:
        InputError: several.
    """
    own = {
        name: _own(part)
        for name, part in dataset.data_vars.items()
        if part.dtype.kind in "iufc" and in_space(part) and not products.is_quality(name, part.attrs)
    }
    deep = [name for name, dims in own.items() if len(dims) == 1]
    bases = {str(name) for name in deep}
    deep = [name for name in deep if not _LAYER.search(str(name)) or _LAYER.sub("", str(name)) not in bases]
    if len(deep) > 1:
        names = [str(name) for name in deep]
        msg = f"Found several cubes in a Dataset ({listed(names)}), expected one: call the verb on one of them,"
        raise InputError(msg, call=f"dataset[{names[0]!r}].ngr", option=f"--bands {names[0]}")
    if not deep:
        return None
    (name,), has_bands = deep, any(not dims and dataset[n].dtype.kind != "c" for n, dims in own.items())
    return None if has_bands and dataset.sizes[own[name][0]] < LEAST_BANDS else name


def cube_of(dataset: xr.Dataset) -> xr.DataArray | None:
    """Return the cube of a Dataset, with the Dataset's record of an earlier verb; None where it has none: see `cube_name`."""
    name = cube_name(dataset)
    if name is None:
        return None
    cube = record.with_coordinates(dataset)[name].assign_attrs(record.notes_in(dataset.attrs))
    return cube.assign_coords(
        {key: dataset[key] for key in record.own(dataset) if set(dataset[key].dims) <= set(cube.dims)}
    )


def put_back(result: xr.DataArray, dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with what a verb made of its cube in the cube's place; the record goes to the Dataset's attributes.

    Variables that no longer fit beside it are left out.
    """
    dataset = dataset.drop_vars(record.own(dataset))
    notes = record.notes_in(result.attrs)
    bare = result.copy(deep=False)
    bare.attrs = {key: value for key, value in result.attrs.items() if key not in notes}
    rest = dataset.drop_vars([name for name in dataset.variables if name in result.coords or name == result.name])
    strangers = [
        name
        for name, variable in rest.variables.items()
        if any(dim in result.sizes and result.sizes[dim] != size for dim, size in variable.sizes.items())
    ]
    out = bare.to_dataset(name=result.name).assign(rest.drop_vars(strangers).variables)
    return out.assign_attrs({**record.fresh(dataset.attrs), **notes})


def _own(variable: xr.DataArray) -> list[Hashable]:
    """Return the dimensions of a variable that are neither space nor time."""
    known = (*ROW_NAMES, *COLUMN_NAMES, *TIME_NAMES)
    return [dim for dim in variable.dims if str(dim).lower() not in known]


def in_space(variable: xr.DataArray) -> bool:
    """Return whether a variable has rows and columns."""
    return named(variable.dims, ROW_NAMES) is not None and named(variable.dims, COLUMN_NAMES) is not None
