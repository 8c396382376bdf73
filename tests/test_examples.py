"""The notebooks: as they are stored, small, whole, free of this or that machine; `make examples` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_each_kind_of_user_has_one() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]
    page = (FOLDER.parent / "docs" / "getting-started.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"examples/{path.name}" in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path: Path) -> None:
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 500_000
    assert not re.search(r"(/home|/root|/tmp|/work|/Users|[A-Z]:\\\\)|\d\d:\d\d:\d\d", text)
    last = [cell for cell in book.cells if cell.cell_type == "markdown"][-1]
    assert last.source.startswith("## When not to trust the result")
    assert book.cells[-1] is last


def test_progress_shows_in_a_notebook() -> None:
    lines = [
        "import warnings, ngr_geo",
        "stack = ngr_geo.sample('slovenia').isel(y=slice(0, 60), x=slice(0, 60))",
        "warnings.simplefilter('ignore')  # clouds of several dates on one place",
        "clear = stack.ngr.decloud(method='guide', tile=40, overlap=4, progress=True)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("\n".join(lines))])
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    shown = [output["data"]["text/plain"] for output in book.cells[0].outputs if "data" in output]
    assert any("tiles" in text and "4/4" in text for text in shown)
    assert not [output for output in book.cells[0].outputs if output.get("name") == "stderr"]
