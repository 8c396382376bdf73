"""Which member is kept: a paired test on blocks of hidden pixels, with a stated tie rule, and the figures that it was made by."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ngr_geo import sample, sample_path
from ngr_geo.cli import main
from ngr_geo.methods import judge
from ngr_geo.raster import cube as cubes
from ngr_geo.report import facts


def _table(gains: list[float]) -> judge.Table:
    """A table of two members whose gain in dB differs from block to block: one band, blocks of 100 pixels."""
    first = np.full((len(gains), 1), 100.0)
    second = first * 10 ** (-np.array(gains)[:, None] / 10)
    products = np.stack([np.stack([first, np.sqrt(first * second)]), np.stack([np.sqrt(first * second), second])])
    return judge.Table(products, np.full((len(gains), 1), 100.0))


def test_blocks_are_blobs_cut_by_cells() -> None:
    hidden = torch.zeros(70, 70, dtype=torch.bool)
    hidden[2:6, 2:6] = hidden[10:14, 2:6] = True  # two blobs in one cell
    hidden[40:44, 20:60] = True  # one blob over two cells
    error = torch.arange(2.0)[:, None, None].expand(2, 70, 70)
    table = judge.tabulated([error, 2 * error], hidden)
    assert table.squares.shape == (2, 4, 2)
    assert sorted(table.counts[:, 0].tolist()) == [16, 16, 48, 112]
    np.testing.assert_allclose(table.rmse(), [[0, 1], [0, 2]])
    assert judge.joined([table, table]).blocks.tolist() == [8, 8]


def test_entries_are_counted_in_their_own_band() -> None:
    hidden = torch.zeros(2, 40, 40, dtype=torch.bool)
    hidden[0, :10, :10], hidden[1, 20:25, 20:25] = True, True
    table = judge.tabulated([torch.ones(2, 40, 40)], hidden)
    assert table.blocks.tolist() == [1, 1]
    assert table.counts.sum(0).tolist() == [100, 25]


def test_the_gain_is_sure_where_blocks_agree() -> None:
    found, error = judge.gain(_table([0.5, 0.5, 0.5, 0.5]))
    assert (found, error) == (pytest.approx(0.5), pytest.approx(0, abs=1e-9))
    assert judge.gain(_table([3, -2, 1, 0]))[1] > 0.5
    assert judge.gain(_table([0.5])) == (pytest.approx(0.5), judge.UNSURE)
    assert np.isnan(judge.gain(_table([]))).all()


@pytest.mark.parametrize(
    ("gains", "kept"),
    [
        ([0.3, 0.25, 0.3], True),
        ([-0.2, -0.25, -0.2, -0.2], False),
        ([0.0, 0.0, 0.0], False),  # a tie: the guide
        ([-1.4, 1.5, -0.4, 0.5], False),  # as good as far as one can tell
        ([2.0], False),  # one block is no proof
        ([], False),  # nothing was hidden
    ],
)
def test_a_member_is_kept_where_its_gain_is_sure(gains: list[float], kept: bool) -> None:
    assert judge.keeps(_table(gains)) is kept


def _errors(blocks: int, scale: list[float], shared: float = 0.0, seed: int = 0) -> judge.Table:
    """The table of members whose errors have these deviations, and in common this share of their variance."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((blocks, 1, 1))
    own = random.standard_normal((blocks, len(scale), 50))
    error = (np.sqrt(shared) * common + np.sqrt(1 - shared) * own) * np.array(scale)[None, :, None]
    return judge.Table(np.einsum("kmn,kpn->mpk", error, error)[..., None], np.full((blocks, 1), 50.0))


def test_weights_are_equal_without_evidence() -> None:
    np.testing.assert_allclose(judge.weights(None, 4), 0.25)
    np.testing.assert_allclose(judge.weights(_table([]), 2), 0.5)


def test_weights_are_those_of_least_error_where_there_is_evidence() -> None:
    """Of independent errors these are the inverse variances; and more blocks lead nearer to them."""
    scale = [1.0, 1.5, 2.0]
    ideal = np.array(scale) ** -2.0 / np.sum(np.array(scale) ** -2.0)
    far = [np.abs(judge.weights(_errors(blocks, scale), 3) - ideal).max() for blocks in (1, 2000)]
    assert far[1] < 0.02
    assert far[0] < np.abs(1 / 3 - ideal).max()


def test_a_member_that_is_plainly_worse_gets_no_weight() -> None:
    found = judge.weights(_errors(30, [1.0, 1.1, 5.0], shared=0.7), 3)
    assert found[2] == 0
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert judge.weights(_errors(3, [1.0, 20.0]), 2)[1] < 0.05


def test_the_error_of_a_blend_is_that_of_its_weights() -> None:
    table = _errors(40, [1.0, 1.2, 1.4], shared=0.3)
    best = judge.weights(table, 3)
    found = float(table.rmse_of(best)[0])
    assert found < float(table.rmse().min())
    for other in np.random.default_rng(1).dirichlet([1, 1, 1], 200):
        assert found < 1.02 * float(table.rmse_of(other)[0])


def test_the_record_has_the_figures_of_the_choice() -> None:
    stack = sample("slovenia").isel(time=slice(1, 4), y=slice(0, 72), x=slice(0, 72))
    clear = stack.ngr.decloud(clouds="SCL", dates="2023-08-18")
    row = json.loads(clear.attrs["ngr_dates"])[2]
    choice = row["choice"]
    assert choice["by"] == f"weights fitted on {choice['blocks']} blocks of hidden pixels"
    assert all(0 < choice[name] < 2000 for name in ("guide", "local", "kriging"))
    if row["method"] == "blend":
        assert sum(choice["weights"].values()) == pytest.approx(1, abs=1e-3)
        assert choice["blend"] < 1.05 * min(choice[name] for name in choice["weights"])
    table = facts.dates_table(cubes.read(clear), clear.ngr.record.dates)
    assert table is not None
    assert {"Chosen by", "Hidden RMSE, guide", "Expected RMSE"} <= set(table["head"])
    assert facts.figure(choice["guide"]) in table["rows"][2]


def test_a_method_that_was_asked_for_is_not_said_to_be_chosen() -> None:
    stack = sample("slovenia").isel(time=slice(1, 4), y=slice(0, 64), x=slice(0, 64))
    clear = stack.ngr.decloud(clouds="SCL", dates="2023-08-18", method="guide")
    assert json.loads(clear.attrs["ngr_dates"])[2]["choice"]["by"] == "method='guide' was asked for"


def test_the_command_shows_them() -> None:
    folder = sample_path("slovenia")
    files = [str(p) for p in sorted(folder.glob("S2_*.tif"))[1:4]]
    clouds = [str(p) for p in sorted(folder.glob("SCL_*.tif"))[1:4]]
    with CliRunner().isolated_filesystem():
        command = ["decloud", *files, "--clouds", *clouds, "--method", "guide", "--dates", "2023-08-18", "-o", "out"]
        done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Hidden RMSE" in done.output
    assert "Expected RMSE" in done.output
    assert "RMSE in the raster's units: hidden" in " ".join(done.output.split())
    line = next(line for line in done.output.splitlines() if line.startswith("2023-08-18 "))
    assert "guide " in line
