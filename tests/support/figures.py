"""Draws each figure once: the same input gives the same bytes, and drawing takes most of a run."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from rules.optimizer import SearchTable
from service.contract.sweep import SweepRequest
from service.engine.figure import draw_figure
from service.engine.look import STORED, Look
from service.search.figure import draw_sweep

FIGURES_OF_RUNS = "service.worker.run.draw_figure"
FIGURES_OF_PAGES = "service.engine.figure.draw_figure"
FIGURES_OF_SWEEPS = "service.search.result.draw_sweep"

_drawn: dict[bytes, Any] = {}


def draw_once(patch: pytest.MonkeyPatch) -> None:
    """Lets workers and pages take a figure that was drawn before from memory."""
    patch.setattr(FIGURES_OF_RUNS, _figure_of_run)
    patch.setattr(FIGURES_OF_PAGES, _figure_of_run)
    patch.setattr(FIGURES_OF_SWEEPS, _figure_of_sweep)


def draw_anew(patch: pytest.MonkeyPatch) -> None:
    """Lets workers and pages draw every figure, as they do outside of tests."""
    patch.setattr(FIGURES_OF_RUNS, draw_figure)
    patch.setattr(FIGURES_OF_PAGES, draw_figure)
    patch.setattr(FIGURES_OF_SWEEPS, draw_sweep)


def _figure_of_run(
    bars: pd.DataFrame,
    trades: Sequence[Mapping[str, Any]],
    title: str,
    signed_drawdown: bool = False,
    look: Look = STORED,
) -> bytes:
    key = _digest(bars, trades, (title, signed_drawdown, look))
    if key not in _drawn:
        _drawn[key] = draw_figure(bars, trades, title, signed_drawdown, look)
    figure: bytes = _drawn[key]
    return figure


def _figure_of_sweep(
    request: SweepRequest, tables: Mapping[str, SearchTable]
) -> tuple[bytes, list[dict[str, Any]]]:
    # The figure does not show the run_id.
    shown = [(table.grid.params, table.metrics, table.metric) for table in tables.values()]
    key = _digest(replace(request, run_id=""), list(tables), shown)
    if key not in _drawn:
        _drawn[key] = draw_sweep(request, tables)
    figure: tuple[bytes, list[dict[str, Any]]] = deepcopy(_drawn[key])
    return figure


def _digest(*inputs: object) -> bytes:
    return hashlib.sha256(pickle.dumps(inputs)).digest()
