"""The HTML report in a real browser, without a network; what comes from files is text."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import ngr_geo
from ngr_geo.report import page as report

NASTY = "<script>window.hacked=1</script>"
BREAKOUT = "\"><img src=x onerror='window.hacked=2'>$\\frac"
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium; tests that need one are skipped where there is none."""
    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH: install one (Debian: apt-get install chromium) to switch this test on")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page in the browser, offline, and all that it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, viewport: dict[str, int]) -> None:
        self.context = browser.new_context(viewport=viewport, offline=True, has_touch=viewport is PHONE)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.absolute().as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:"))] == []


def test_the_page_of_a_stack(stack: xr.Dataset, clear: xr.Dataset, browser: Any, tmp_path: Path) -> None:
    path = stack.ngr.report(clear, tmp_path / "report.html")
    with Opened(browser, path, DESK) as page:
        assert page.locator("section.view").count() == 3
        assert page.locator("section.view h3").all_inner_texts() == ["2023-08-13", "2023-08-15", "2023-08-18"]
        assert page.locator(".view").nth(2).locator("h4").all_inner_texts() == ["Mask", "Uncertainty", "Difference"]
        broken = page.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length")
        assert broken == 0
        assert page.evaluate("document.images.length") == 3 * 5 + 1
        expected = json.loads(clear.attrs["ngr_dates"])[2]["expected"]["rmse"]["B04"]
        assert f"{expected:.4g}" in page.locator("#errors ~ details td").all_inner_texts()
        assert {"decloud", ngr_geo.__version__, "SCL"} <= set(page.locator("#provenance ~ .box td").all_inner_texts())
    with Opened(browser, path, PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        sizes = page.evaluate(
            "[...document.querySelectorAll('p,li,td,th,figcaption,nav a')].map(e => getComputedStyle(e).fontSize)"
        )
        assert min(float(size.removesuffix("px")) for size in sizes) >= 12.5


def _shown(page: Any) -> np.ndarray:
    """What the first slider shows."""
    picture = page.locator(".slider").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float)


def test_the_slider_moves_by_keys_mouse_and_finger(
    stack: xr.Dataset, clear: xr.Dataset, browser: Any, tmp_path: Path
) -> None:
    """What is left of it is before, what is right of it after."""
    path = stack.isel(time=[2]).ngr.report(clear.isel(time=[2]), tmp_path / "report.html")
    with Opened(browser, path, DESK) as page:
        slider = page.locator(".slider input").first
        assert slider.get_attribute("aria-label")
        middle = _shown(page)
        slider.focus()
        page.keyboard.press("Home")
        after = _shown(page)
        page.keyboard.press("End")
        before = _shown(page)
        assert slider.input_value() == "100"
        width = middle.shape[1]
        left, right = (slice(60, -60), slice(30, width // 2 - 40)), (slice(60, -60), slice(width // 2 + 40, -30))
        assert np.abs(before - after)[left].mean() > 5  # there are clouds
        assert np.abs(middle - before)[left].mean() < 1 < np.abs(middle - after)[left].mean()
        assert np.abs(middle - after)[right].mean() < 1 < np.abs(middle - before)[right].mean()
        box = slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 80, steps=5)
        page.mouse.up()
        assert 10 < float(slider.input_value()) < 30
        clip = page.evaluate("getComputedStyle(document.querySelector('.slider .over')).clipPath")
        assert clip != "none"
        assert slider.get_attribute("aria-valuetext") == f"{slider.input_value()} % before"
    with Opened(browser, path, PHONE) as page:
        slider = page.locator(".slider input").first
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
        assert 70 < float(slider.input_value()) < 90


def test_pictures_can_be_enlarged(stack: xr.Dataset, clear: xr.Dataset, browser: Any, tmp_path: Path) -> None:
    with Opened(browser, stack.ngr.report(clear, tmp_path / "report.html"), DESK) as page:
        button = page.locator(".zoom").first
        small = button.bounding_box()["width"]
        button.focus()
        page.keyboard.press("Enter")
        assert button.bounding_box()["width"] > 1.5 * small
        assert button.get_attribute("aria-expanded") == "true"


def test_a_spectral_cube(cube: xr.DataArray, browser: Any, tmp_path: Path) -> None:
    """In colours by wavelength, then the bands that were changed most; its bands in a chart."""
    clean = cube.ngr.denoise(method="guide")
    with Opened(browser, cube.ngr.report(clean, tmp_path / "report.html"), PHONE) as page:
        titles = page.locator("section.view h3").all_inner_texts()
        assert titles[0] == "In colours"
        assert len(titles) == 4
        assert all(re.fullmatch(r"Band \d+, \d+ nm", title) for title in titles[1:])
        assert page.locator("figure.chart img").count() >= 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert "Noise removed" in page.title()


def test_what_comes_from_files_is_text(stack: xr.Dataset, clear: xr.Dataset, browser: Any, tmp_path: Path) -> None:
    """Attributes, names of bands, dates and files; also a record that no verb wrote."""
    after = clear.rename(
        {
            "B02": NASTY,
            "B02_uncertainty": f"{NASTY}_uncertainty",
            "B03": BREAKOUT,
            "B03_uncertainty": f"{BREAKOUT}_uncertainty",
        }
    )
    before = stack.rename({"B02": NASTY, "B03": BREAKOUT})
    rows = json.loads(clear.attrs["ngr_dates"])
    for row in rows:
        row["date"], row["kind"], row["method"] = NASTY, BREAKOUT, BREAKOUT
        row["expected"] = {"rmse": {NASTY: 3.0, BREAKOUT: NASTY}, "log_sd": NASTY, "psnr": {NASTY: BREAKOUT}}
    call = json.loads(clear.attrs["ngr_call"]) | {BREAKOUT: {"kind": NASTY, "digest": BREAKOUT}, "clouds": NASTY}
    after = after.assign_attrs(
        {NASTY: BREAKOUT, "title": NASTY, "ngr_verb": BREAKOUT, "ngr_made": NASTY, "ngr_version": BREAKOUT},
        ngr_dates=json.dumps(rows), ngr_call=json.dumps(call), ngr_inputs=json.dumps([f"{BREAKOUT}.tif"]), ngr_settings=NASTY,
        ngr_tiles=json.dumps({"total": NASTY}), ngr_before=json.dumps([{"verb": NASTY, "call": BREAKOUT}, 3]),
    )  # fmt: skip
    path = report.save(before, after, tmp_path / "report.html", warnings=[NASTY, BREAKOUT])
    assert NASTY not in path.read_text(encoding="utf-8")
    with Opened(browser, path, DESK) as page:
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert page.evaluate("window.hacked") is None
        shown = page.locator("body").inner_text()
        assert shown.count(NASTY) > 8
        assert shown.count(BREAKOUT) > 8
        assert page.locator("script").count() == 1
        assert page.evaluate("[...document.images].every(i => i.src.startsWith('data:image/'))")


def test_injected_code_could_not_run(stack: xr.Dataset, clear: xr.Dataset, browser: Any, tmp_path: Path) -> None:
    """Were something not escaped after all, the page's policy stops it: scripts, handlers, styles, requests."""
    text = stack.ngr.report(clear, tmp_path / "report.html").read_text(encoding="utf-8")
    attack = f"{NASTY}<img src='data:,' onerror='window.hacked=3'><style>body{{display:none}}</style><img src='http://localhost:9/x.png'>"
    path = tmp_path / "attacked.html"
    path.write_text(text.replace("<main>", f"<main>{attack}"), encoding="utf-8")
    opened = Opened(browser, path, DESK)
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("h1").is_visible()
    assert sum("Content Security Policy" in text for text in opened.complaints) >= 4
    opened.context.close()
