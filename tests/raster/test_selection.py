"""Dates and bands as users name them: what is meant is found, what could be something else is refused with what there is."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ngr_geo import InputError
from ngr_geo.raster import selection
from ngr_geo.wording import counted, listed, percent

DAYS = ("2023-08-15", "2023-08-18", "2023-09-01", "2024-08-18")
HOURS = ("2023-08-15T10:06:01", "2023-08-15T23:00:00", "2023-08-18T10:06:01")


@pytest.mark.parametrize(
    "wanted",
    [
        "2023-08-18",
        "20230818",
        20230818,
        " 2023-08-18 ",
        "2023-08-18T10:06:01",
        "20230818T100601",
        "2023-08-18 10:06",
        date(2023, 8, 18),
        datetime(2023, 8, 18, 10, 6),
        datetime(2023, 8, 18, tzinfo=UTC),
        pd.Timestamp("2023-08-18"),
        np.datetime64("2023-08-18"),
        np.datetime64("2023-08-18T00:00:00.000000000"),
        ["20230818"],
        pd.DatetimeIndex(["2023-08-18"]),
        xr.DataArray(np.array(["2023-08-18"], "datetime64[ns]"), dims="time"),
        xr.DataArray(np.datetime64("2023-08-18", "ns")),
    ],
    ids=repr,
)
def test_a_date_is_found_however_it_is_written(wanted: object) -> None:
    assert selection.dates(DAYS, wanted) == [1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("2023-08", [0, 1]), ("202308", [0, 1]), ("2023", [0, 1, 2]), (["2024", "2023-09"], [2, 3]), (None, [0, 1, 2, 3])],
)
def test_a_year_or_a_month_stands_for_its_dates(wanted: object, found: list[int]) -> None:
    assert selection.dates(DAYS, wanted) == found


def test_a_day_with_two_dates_stands_for_both_and_a_time_for_one() -> None:
    assert selection.dates(HOURS, "20230815") == [0, 1]
    assert selection.dates(HOURS, "20230815T2300") == [1]
    assert selection.dates(HOURS, pd.Timestamp("2023-08-15T10:06:01")) == [0]


def test_numbers_in_place_of_dates_are_whole() -> None:
    names = tuple(str(i) for i in range(12))
    assert selection.dates(names, "1") == [1]
    assert selection.dates(names, [1, 10]) == [1, 10]


@pytest.mark.parametrize(
    "wanted", ["2023-08-1", "2023-0", "18.08.2023", "2023-08-19", "", [], True, "20230832", np.nan]
)
def test_what_is_no_date_is_refused_with_those_there_are(wanted: object) -> None:
    with pytest.raises(InputError, match="2023-08-15, 2023-08-18") as caught:
        selection.dates(DAYS, wanted)
    assert "dates=[...]" in str(caught.value)
    assert "--dates" in caught.value.on_command_line
    assert "=[" not in caught.value.on_command_line


def test_bands_are_counted_from_0_in_python_and_from_1_on_the_command_line() -> None:
    names = ("B02", "B03", "B04")
    assert selection.bands(names, ["B04", 0, -1, np.int64(1)]) == [2, 0, 2, 1]
    assert selection.bands(names, "B03") == [1]
    assert selection.bands(names, 2) == [2]
    assert selection.bands(names, ["1", "3"], first=1) == [0, 2]
    for wrong in (3, -4, "2", True, 1.0, None):
        with pytest.raises(InputError, match="from 0 to 2"):
            selection.bands(names, [wrong])
    for wrong in ("0", "4", "99", "-1", "²"):
        with pytest.raises(InputError) as caught:
            selection.bands(names, [wrong], first=1)
        assert f"no band {wrong!r}" in caught.value.on_command_line
        assert "numbers from 1 to 3" in caught.value.on_command_line
        assert "--bad-bands" in caught.value.on_command_line


def test_a_number_that_names_a_band_is_its_name_alone() -> None:
    """Of bands 5, 6, 7 the first one is not meant by 1: it is called 5."""
    names = ("5", "6", "7")
    assert selection.bands(names, ["7"], first=1) == [2]
    assert selection.bands(names, ["7"]) == [2]
    with pytest.raises(InputError, match="no band '1'"):
        selection.bands(names, ["1"], first=1)


def test_counts_and_shares_in_words() -> None:
    assert [counted(n, "tile") for n in (0, 1, 2)] == ["0 tiles", "1 tile", "2 tiles"]
    assert counted(2, "entry", "entries") == "2 entries"
    shares = {0: "0%", 1: "100%", 0.0001: "less than 0.1%", 0.004: "0.4%", 0.5: "50%", 0.9999: "more than 99.9%"}
    assert {share: percent(share) for share in shares} == shares
    assert listed("abc") == "a, b, c"
    assert listed(range(100), 4) == "0, 1, 2, ..., 99 (100 in all)"
