"""AVIRIS-NG and Hyperion as ENVI images in any interleave: wavelengths, widths, bad bands, scale.

NV5, ENVI header format: fields of the text file beside the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from running import invoke
from small_cube import WAVELENGTHS, clean_cube

import ngr_geo

BAD = (18, 19)


def image(folder: Path, interleave: str) -> Path:
    """An image of int16 with its header, lines of Hyperion's kind."""
    cube = np.rint(clean_cube() * 6000).astype(np.int16)
    cube[list(BAD)] = 0
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    path = folder / f"EO1H1900282023231110KF_{interleave}.img"
    cube.transpose(order).tofile(path)

    def listed(values: object) -> str:
        return "{" + ", ".join(f"{value:g}" for value in np.ravel(np.asarray(values))) + "}"

    good = np.ones(40)
    good[list(BAD)] = 0
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = 64\nlines = 64\nbands = 40\nheader offset = 0\nfile type = ENVI Standard\ndata type = 2\n"
        f"interleave = {interleave}\nbyte order = 0\nwavelength units = Nanometers\nreflectance scale factor = 10000\n"
        "map info = {UTM, 1, 1, 600000, 5100000, 30, 30, 33, North, WGS-84}\ndata ignore value = -9999\n"
        f"wavelength = {listed(WAVELENGTHS)}\nfwhm = {listed(WAVELENGTHS * 0 + 10)}\nbbl = {listed(good)}\n"
    )
    return path


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_an_image_has_all_that_its_header_says(tmp_path: Path, interleave: str) -> None:
    cube = ngr_geo.open(image(tmp_path, interleave).with_suffix(".hdr"))
    assert isinstance(cube, xr.DataArray)
    np.testing.assert_allclose(cube.wavelength, WAVELENGTHS, rtol=1e-5)
    assert cube.wavelength.attrs["units"] == "Nanometers"
    assert np.flatnonzero(cube.bbl == 0).tolist() == list(BAD)
    assert cube.fwhm.values.tolist() == [10.0] * 40
    assert cube.attrs["scale_factor"] == pytest.approx(1e-4)
    assert (cube.rio.crs.to_epsg(), cube.rio.nodata) == (32633, -9999)
    np.testing.assert_array_equal(cube.values[0], np.rint(clean_cube()[0] * 6000))


def test_repair_goes_from_image_to_image(tmp_path: Path) -> None:
    path = image(tmp_path, "bil")
    options = ("--method", "guide", "--tile", 64, "--overlap", 8, "--faults", "lines")
    done = invoke("repair", path, "-o", tmp_path / "out" / "clean.img", *options)
    assert done.exit_code == 0, done.output
    header = (tmp_path / "out" / "clean.hdr").read_text()
    for field in ("bbl = ", "fwhm = ", "wavelength = ", "reflectance scale factor = 10000", "interleave = bil"):
        assert field in header
