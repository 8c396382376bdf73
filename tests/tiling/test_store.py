"""Records: an error of Python's own parser says nothing of the file, and is not reported as its damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngr_geo import InputError
from ngr_geo.tiling import store


class Miscounting(dict[str, Any]):
    """Arrays of which each read fails some times first, as Python 3.11's parser does, rarely, where threads parse at once."""

    def __init__(self, arrays: dict[str, Any], times: int) -> None:
        """Take the arrays, and how often a read fails."""
        super().__init__(arrays)
        self.times = self.left = times

    def __getitem__(self, name: str) -> Any:
        """Fail, or return the array."""
        if self.left:
            self.left -= 1
            raise SystemError("AST constructor recursion depth mismatch (before=69, after=57)")
        self.left = self.times
        return super().__getitem__(name)


def test_an_error_of_the_parser_is_no_damage(tmp_path: Path) -> None:
    """It is read again; only a file that never can be read is refused, as one that is damaged."""
    slot = store.Slot(str(tmp_path / "tile.npz"), "job", (0, 0))
    store.keep(slot, [np.zeros(3)], {"filled": np.arange(6.0)}, {"seconds": 1})
    with np.load(slot.path) as file:
        arrays = dict(file)
    record = store.Record(slot.path, Miscounting(arrays, 2))
    assert record.belongs(slot) and record.notes == {"seconds": 1}
    np.testing.assert_array_equal(record["filled"], np.arange(6.0))
    with pytest.raises(InputError, match="is no record of this tile that can be read"):
        store.Record(slot.path, Miscounting(arrays, store.PARSES))
