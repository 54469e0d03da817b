"""Figures: PNGs in memory, the same bytes for the same run, without pyplot, at little cost."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from scripts.config import ROOT
from service.engine.figure import (
    MAX_MARKERS,
    PIXEL_COLUMNS,
    _draw_price,
    _thinned,
    draw_figure,
)
from service.engine.look import STORED, STORED_UNTIL_1_1_0, Look
from tests.support.backtests import perform
from tests.support.prices import prices

LARGE = Look()


def draw(look: Look = STORED, **change: object) -> bytes:
    done = perform(**change)  # type: ignore[arg-type]
    return draw_figure(done.bars, done.result.trades, "GOOG", look=look)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize(
    ("look", "shape", "most"), [(STORED, (720, 960, 3), 26_000), (LARGE, (900, 1200, 3), 300_000)]
)
def test_it_is_a_png_of_the_promised_size(look: Look, shape: tuple[int, ...], most: int) -> None:
    png = draw(look)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert pixels(png).shape == shape
    assert len(png) < most


def test_a_small_figure_looks_like_a_large_one() -> None:
    """Its few colours are those of the large one, and nowhere far from what was there."""
    small = Image.open(io.BytesIO(draw()))
    assert len(small.getcolors()) <= 18
    large = Image.open(io.BytesIO(draw(LARGE))).convert("RGB").resize(small.size)
    difference = np.abs(np.asarray(small.convert("RGB"), float) - np.asarray(large, float))
    assert difference.mean() < 5


def test_stored_figures_of_earlier_versions_stay_as_they_were() -> None:
    assert Look(has_plain_prices=False) == STORED_UNTIL_1_1_0


def test_the_same_bytes_for_the_same_run() -> None:
    assert draw() == draw()
    assert draw() != draw(rule_id="RSI_14_30_70")


def coloured(png: bytes, colour: tuple[int, int, int]) -> int:
    return int((pixels(png) == colour).all(axis=2).sum())


def test_entries_and_exits_are_marked() -> None:
    green = (0x15, 0x80, 0x3D)
    red = (0xDC, 0x26, 0x26)
    for look in (STORED, LARGE):
        assert coloured(draw(look), green) > 800
        assert coloured(draw(look), red) > 800
        never = draw(look, rule_id="BB_20_10")
        assert coloured(never, green) == 0


def test_fills_with_and_without_a_time_of_day() -> None:
    bars = perform().bars
    trade = {"entry_date": "2014-01-02", "entry_price": 25.0, "direction": "long"}
    exits = {"exit_date": "2014-01-03T10:00:00", "exit_price": 26.0}
    again = {
        "entry_date": "2014-01-06T11:00:00",
        "entry_price": 25.0,
        "exit_date": None,
        "exit_price": None,
    }
    assert draw_figure(bars, [{**trade, **exits}, {**trade, **again}], "")


@pytest.mark.parametrize("capital", [0.5, 1e5, 9e5, 1e6, 1e12])
def test_axis_labels_are_not_cut_off(capital: float) -> None:
    """The left edge of the picture stays white."""
    png = draw(initial_capital=capital)
    assert (pixels(png)[:, :4] == 255).all()


def test_only_an_entry() -> None:
    bars = perform().bars
    trade = {
        "entry_date": "2014-01-02",
        "entry_price": 25.0,
        "exit_date": None,
        "exit_price": None,
        "direction": "short",
    }
    assert coloured(draw_figure(bars, [trade], ""), (0x15, 0x80, 0x3D)) == 0, (
        "a short begins with a sale"
    )


def test_thinning_keeps_the_extremes_of_every_column() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    at, kept = _thinned(np.arange(100_000), values)
    assert len(kept) <= 2 * PIXEL_COLUMNS
    assert (kept.min(), kept.max()) == (values.min(), values.max())
    assert (values[at] == kept).all()
    assert (np.diff(at) > 0).all()
    assert len(_thinned(np.arange(2000), values[:2000])[1]) == 2000


def test_a_million_bars_and_many_trades() -> None:
    n = 1_000_000
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, n)))
    index = pd.date_range("2000-01-01", periods=n, freq="min")
    bars = pd.DataFrame(
        {
            "close": walk,
            "equity": walk,
            "buy_and_hold": walk,
            "drawdown": 1 - walk / np.maximum.accumulate(walk),
        },
        index=index,
    )
    days = index[:: n // (3 * MAX_MARKERS)]
    trades = [
        {
            "entry_date": str(day),
            "entry_price": 100.0,
            "exit_date": str(day),
            "exit_price": 101.0,
            "direction": "long",
        }
        for day in days
    ]
    assert len(draw_figure(bars, trades, "")) < 400_000


@pytest.mark.process
def test_pyplot_is_never_imported() -> None:
    code = "import sys, service.worker.run; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_figures_leave_nothing_behind() -> None:
    import gc
    import weakref

    from matplotlib import figure

    figures: list[weakref.ref[figure.Figure]] = []
    real = figure.Figure.__init__

    def watch(self: figure.Figure, *words: object, **named: object) -> None:
        figures.append(weakref.ref(self))
        real(self, *words, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure.Figure, "__init__", watch)
        for _ in range(3):
            draw()
    gc.collect()
    assert [ref() for ref in figures] == [None, None, None]


@pytest.mark.parametrize(
    ("factor", "label"), [(1.0, "24"), (5e-7, "0.000012"), (1e5, "2.4M"), (1000.0, "24000")]
)
def test_prices_stand_at_the_axis_as_they_are(factor: float, label: str) -> None:
    bars = prices("GOOG", 600).assign(Drawdown=0.0)
    figure = Figure()
    axes = figure.add_subplot()
    close = pd.DataFrame({"close": bars["Close"] * factor})
    _draw_price(axes, close, [], LARGE)
    FigureCanvasAgg(figure).draw()
    assert label in [text.get_text() for text in axes.get_yticklabels()]
    assert axes.yaxis.get_offset_text().get_text() == ""
