"""The README and the pages of docs/: what they show runs, and what they link to is there."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

import ngr_geo

HOME = Path(__file__).parent.parent
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").glob("*.md")])


def blocks(path: Path) -> list[str]:
    """Return the Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("index", range(3))
def test_each_snippet_of_the_readme_runs_as_it_stands(index: int) -> None:
    snippets = blocks(HOME / "README.md")
    assert len(snippets) == 3
    exec(snippets[index], {})


@pytest.mark.parametrize("name", ["gaps", "getting-started"])
def test_the_snippets_of_a_page_run_one_after_the_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in blocks(HOME / "docs" / f"{name}.md"):
        exec(snippet, names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_verb_is_in_the_reference() -> None:
    from ngr_geo import __all__ as public
    from ngr_geo.accessor import DataArrayVerbs

    reference = (HOME / "docs" / "api.rst").read_text(encoding="utf-8").split()
    verbs = [name for name in dir(DataArrayVerbs) if not name.startswith("_")]
    assert not [name for name in verbs if f"DataArray.ngr.{name}" not in reference]
    assert not [name for name in public if name not in ("__version__", "masks", "stac") and name not in reference]


@pytest.fixture(scope="module")
def made() -> dict[str, object]:
    """What the examples of methods start from, as docs/api.rst says: a corner of the sample, and one date of it without clouds."""
    stack = ngr_geo.sample("slovenia").isel(x=slice(0, 60), y=slice(0, 60))
    clear = stack.ngr.decloud("SCL", dates="2023-08-18", method="guide", uncertainty=True)
    return {"stack": stack, "clear": clear}


DOCUMENTED = ["accessor", "errors", "opening", "raster.masks", "raster.ortho", "report.stac", "samples", "shown"]


@pytest.mark.parametrize("name", DOCUMENTED)
@pytest.mark.filterwarnings("ignore:.*seen on no other date")
def test_the_examples_of_functions_are_right(
    name: str, made: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(f"ngr_geo.{name}"), extraglobs=made, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_examples_of_the_reference_are_right() -> None:
    result = doctest.testfile(str(HOME / "docs" / "api.rst"), module_relative=False, encoding="utf-8")
    assert result.attempted > 20
    assert result.failed == 0
