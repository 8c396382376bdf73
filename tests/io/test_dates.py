"""When a file was acquired: by its name, its tags, or a pattern."""

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)

from ngr_geo.errors import InputError
from ngr_geo.io.dates import acquired

NAMES = {
    "S2_33TWM_20230810.tif": "2023-08-10",
    "S2A_MSIL2A_20230810T100031_N0509_R122_T33TWM_20230811T143259.tif": "2023-08-10T10:00:31",
    "T33TWM_20230810T100031_B04_10m.jp2": "2023-08-10T10:00:31",
    "SENTINEL2B_20230810-100559-123_L2A_T33TWM_C_V3-1.tif": "2023-08-10T10:05:59",
    "S1A_IW_GRDH_1SDV_20230810T165014_20230810T165039_049810_05FD9A.tif": "2023-08-10T16:50:14",
    "LC08_L2SP_190028_20230810_20230815_02_T1_SR_B4.TIF": "2023-08-10",
    "LC80330332013180LGN00.tif": "2013-06-29",
    "HLS.L30.T33TWM.2023222T095549.v2.0.B04.tif": "2023-08-10T09:55:49",
    "MOD09A1.061_sur_refl_b01_doy2023222_aid0001.tif": "2023-08-10",
    "MOD09GA.A2023222.h18v04.061.hdf": "2023-08-10",
    "20230810_095549_27_2461_3B_AnalyticMS.tif": "2023-08-10T09:55:49",
    "scene_20230810100031.tif": "2023-08-10T10:00:31",
    "scene 2023-08-10T10:00:31Z.tif": "2023-08-10T10:00:31",
    "folder/2023_08_10.tif": "2023-08-10",
    r"C:\data\2023.08.10_scene.tiff": "2023-08-10",
    "twice_20230810_20230810.tif": "2023-08-10",
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_dates_are_read_from_names(name: str, expected: str) -> None:
    """Sentinel, Landsat, HLS, MODIS, Planet, MAJA and plain names."""
    assert acquired(name, {}) == np.datetime64(expected)


@pytest.mark.parametrize("name", ["scene.tif", "id_1234567890.tif", "id_20231399.tif", "v20230810123.tif"])
def test_other_numbers_are_no_dates(name: str) -> None:
    """Numbers that are no day of the calendar, or part of a longer one."""
    assert acquired(name, {}) is None


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("scene.tif", {"TIFFTAG_DATETIME": "2023:08:10 11:22:33"}, "2023-08-10T11:22:33"),
        ("scene.tif", {"datetime": "2023-08-10T23:22:33+02:00"}, "2023-08-10T21:22:33"),
        ("scene.tif", {"ACQUISITION_DATE": "2023-08-10", "DATE": "2023-09-01"}, "2023-08-10"),
        ("scene.tif", {"DATATAKE_1_DATATAKE_SENSING_START": "2023-08-10T10:00:31.024Z"}, "2023-08-10T10:00:31.024"),
        ("scene.tif", {"DATE_ACQUIRED": "'2023-08-10'"}, "2023-08-10"),
        ("S2_20230810.tif", {"PRODUCT_START_TIME": "2023-08-10T10:00:31"}, "2023-08-10T10:00:31"),
        ("S2_20230810.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, "2023-08-10"),  # the day of processing
    ],
)
def test_dates_are_read_from_tags(name: str, tags: dict[str, str], expected: str) -> None:
    """Acquisition tags come before names, names before tags that may mean processing."""
    assert acquired(name, tags) == np.datetime64(expected)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a_10.08.2023_x.tif", "%d.%m.%Y", "2023-08-10"),
        ("a_1.8.2023_x.tif", "_%d.%m.%Y", "2023-08-01"),
        ("mean_20230801_20230831.tif", "mean_*_%Y%m%d", "2023-08-31"),
        ("mean_20230801_20230831.tif", r"_(\d{8})$", "2023-08-31"),
        ("mean_20230801_20230831.tif", r"mean_(?P<date>\d{8})_(\d{8})", "2023-08-01"),
        ("d2023222.tif", "d%Y%j", "2023-08-10"),
        ("d2023222.tif", r"d(\d{7})", "2023-08-10"),
        ("x_10Aug2023.tif", "_%d%b%Y", "2023-08-10"),
        ("x.tif", "tag:MADE", "2023-08-10"),
    ],
)
def test_date_patterns(name: str, pattern: str, expected: str) -> None:
    """strptime anywhere in the name, regular expressions, tags."""
    assert acquired(name, {"MADE": "2023-08-10"}, pattern) == np.datetime64(expected)


@pytest.mark.parametrize(
    ("name", "tags", "pattern", "words"),
    [
        ("mean_20230801_20230831.tif", {}, None, ["2 dates", "--date-pattern"]),
        ("S2_20230801.tif", {"ACQUISITION_DATE": "2022-01-01"}, None, ["ACQUISITION_DATE", "tag:ACQUISITION_DATE"]),
        ("scene.tif", {}, "S2_%Y%m%d", ["S2_%Y%m%d", "scene.tif"]),
        ("scene.tif", {}, "S2_%Q", ["%Q"]),
        ("scene.tif", {}, "S2_%Y", ["needs a year"]),
        ("scene.tif", {}, "S2", ["neither %Y nor a group"]),
        ("scene.tif", {}, "(S2", ["no regular expression"]),
        ("scene.tif", {"A": "1"}, "tag:B", ["tag B", "['A']"]),
        ("scene.tif", {"A": "1"}, "tag:A", ["'1'", "no date"]),
        ("S2_20231399.tif", {}, "S2_%Y%m%d", ["finds no date"]),
    ],
)
def test_unclear_dates_are_errors(name: str, tags: dict[str, str], pattern: str | None, words: list[str]) -> None:
    """With what was found and what helps."""
    with pytest.raises(InputError) as caught:
        acquired(name, tags, pattern)
    assert all(word in str(caught.value) for word in words), caught.value
