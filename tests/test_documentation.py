"""The README and the pages of docs/: what they show runs, and what they link to is there."""

from __future__ import annotations

import doctest
import re
from html import unescape
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

import ngr_geo
from ngr_geo.methods import training

HOME = Path(__file__).parent.parent
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").glob("*.md"), *(HOME / "docs" / "gallery").glob("*.md")])
SITE = HOME / "docs" / "_build" / "html"


def blocks(path: Path) -> list[str]:
    """Return the Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def corner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snippet gets a corner of the sample for the whole, and learns little from it; `make examples` does both in full."""
    whole = ngr_geo.sample("slovenia")
    monkeypatch.setattr(training, "MOST_STEPS", 10)
    monkeypatch.setattr(ngr_geo, "sample", lambda name: whole.isel(y=slice(0, 122), x=slice(0, 92)))


@pytest.mark.usefixtures("corner")
@pytest.mark.parametrize("index", range(3))
def test_each_snippet_of_the_readme_runs_as_it_stands(index: int) -> None:
    snippets = blocks(HOME / "README.md")
    assert len(snippets) == 3
    exec(snippets[index], {})


@pytest.mark.usefixtures("corner")
@pytest.mark.parametrize("name", ["gaps", "getting-started", "paper"])
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


def test_each_fault_of_the_cheat_sheet_has_a_small_picture() -> None:
    text = (HOME / "docs" / "which-verb.md").read_text(encoding="utf-8")
    pictures = [
        re.match(r"\| !\[before and after\]\(([^)]+)\) \|", line)
        for line in text.splitlines()
        if "`" in line and line[0] == "|"
    ]
    assert len(pictures) > 10
    assert all(picture and (HOME / "docs" / picture[1]).stat().st_size < 40_000 for picture in pictures)


def test_measured_clouds_are_those_of_the_rows_that_the_benchmark_wrote() -> None:
    rows = pd.read_csv(HOME / "docs" / "benchmarks" / "decloud.csv")
    means = rows.pivot_table(index="group", columns="method", values="psnr")
    text = (HOME / "docs" / "measured.md").read_text(encoding="utf-8")
    names = {"nearest date copied": "copy nearest", "local regression": "local regression", "ridge on 3": "ridge 3x3"}
    for name, method in {**names, "guide |": "guide", "auto, the blend": "auto"}.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
        found = re.findall(r"\d\d\.\d\d", line)[:3]
        assert found == [f"{means.loc[group, method]:.2f}" for group in ("R", "S", "M")], name


@pytest.mark.skipif(not SITE.exists(), reason="the documentation was not built: make docs")
def test_links_and_anchors_of_the_built_site_lead_somewhere() -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in SITE.rglob("*.html")}
    anchors = {page: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for page, text in pages.items()}
    lost = set()
    for page, text in pages.items():
        for target in re.findall(r'\b(?:href|src)="([^"]*)"', text):
            path, _, anchor = unescape(unquote(target)).partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            file = (page.parent / path.partition("?")[0]).resolve() if path else page
            known = anchors.get(file)
            if not file.exists() or (anchor and known is not None and anchor not in known):
                lost.add(f"{page.relative_to(SITE)}: {target}")
    assert len(pages) > 30
    assert not lost


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
