"""`ngr_geo.open`: a product, or plain rasters, as what the verbs take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from .atomic import PathLike


def open(
    path: PathLike | Sequence[PathLike] | xr.DataTree,
    product: str | None = None,
    *,
    bands: Sequence[str] | None = None,
    resolution: str | float | None = None,
    nodata: str | float | None = None,
    date_pattern: str | None = None,
    lazy: bool = False,
) -> xr.DataArray | xr.Dataset:
    """Return a product, or plain rasters, as the raster that the verbs take.

    What it is, is found out from what lies in it. A stack with a mask is a Dataset with a variable for each band and one for the
    mask, under the name that `decloud` looks for. The cube of an imaging spectrometer is a DataArray (band, y, x) with its
    wavelengths, its bad bands and, as the coordinate `bad_pixels`, the bad pixels that the product ships; where layers on another
    grid belong to it, it is a variable of a Dataset. Numbers stay as they are stored: attributes or coordinates `scale_factor` and
    `add_offset` say what they mean. Above 64 MiB it is lazy.

    Args:
        path: a folder, archive or file of a product, several of one kind (dates of a stack), or rasters that GDAL or xarray
            read. "*" and "?" are expanded. Or an `xarray.DataTree`, such as xarray.open_datatree(...) gives.
        product: its name, such as "hls" or "emit", where it is not to be found out: see `ngr_geo.io.products`.
        bands: names of the bands to read. None: all.
        resolution: "finest", "coarsest" or the size of a pixel, where bands have pixels of several sizes.
        nodata: the number that means missing, whatever the product says; "none" where all numbers are data.
        date_pattern: where the date stands in the names of plain rasters, such as "S2_%Y%m%d".
        lazy: do not load pixels, however few they are.

    Raises:
        InputError: nothing that is known: with the products that are, and what was looked for.

    Examples:
        >>> import ngr_geo
        >>> stack = ngr_geo.open(f"{ngr_geo.sample_path()}/S2_*.tif")
        >>> stack.sizes["time"]
        5
    """
    from .io import as_raster, read_stack

    if isinstance(path, xr.DataTree):
        from .io.gather import Wanted
        from .io.products.eopf import of_tree

        return of_tree(path, Wanted(bands=bands, resolution=resolution))
    files = read_stack(
        path, bands=bands, date_pattern=date_pattern, lazy=lazy, resolution=resolution, nodata=nodata, product=product
    )
    return as_raster(files)
