"""What a result says of its doubts: the same bytes each time, as its contract has them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from rules.registry import rule_from_id
from scripts.config import ROOT
from service.contract.request import parse_request
from service.contract.result import BacktestResult, failed_result, result_of_stored
from service.doubt.doubt import doubt_of
from service.engine.adapter import run_backtest
from service.engine.version import FROZEN_VERSION, LARGE_FIGURE_VERSION
from service.worker import run as worker_run
from service.worker.run import perform
from service.worker.software import Software
from tests.doubt.test_bands import NAMES
from tests.support.prices import series
from tests.support.requests import REQUEST

RUN_ID = "7b1c1c60-0000-4000-8000-000000000000"


def request(**changes: Any) -> Any:
    return parse_request({**REQUEST, "run_id": RUN_ID, **changes})


def result(**changes: Any) -> BacktestResult:
    asked = request(**changes)
    return perform(asked, series(asked.ticker), Software())[0]


def test_a_result_says_it_by_its_contract() -> None:
    found = result(rule_id="MA_CROSS_10_30")
    doubt = found.document()["doubt"]
    assert list(doubt["bands"]) == NAMES
    values = {**found.metrics, **found.headline()}
    for name, (low, high) in doubt["bands"].items():
        if name != "max_drawdown_pct":  # that is the band of another time
            assert low < values[name] < high, name
    assert 0.9 < doubt["probabilistic_sharpe_ratio"] < 1
    assert doubt["min_track_record_bars"] < found.provenance["bars"]
    assert doubt["changes"][0]["change"] == "asked"
    assert [each["regime"] for each in doubt["regimes"]][:3] == ["rising", "flat", "falling"]


@pytest.mark.parametrize(
    ("changes", "bands", "count"),
    [
        ({"rule_id": "BB_20_10"}, 0, 1),
        ({"rule_id": "RSI_2_30_70", "allow_short": True, "lot_size": 10}, 6, 15),
        ({"rule_id": "MOMENTUM_1", "start_date": "2019-01-02", "end_date": "2019-01-15"}, 0, 5),
    ],
)
def test_runs_of_all_kinds_have_a_document(changes: dict[str, Any], bands: int, count: int) -> None:
    doubt = result(**changes).document()["doubt"]
    assert (len(doubt["bands"]), len(doubt["changes"])) == (bands, count)


def test_it_is_stored_where_release_0_2_0_can_read_it() -> None:
    """That knows the fields of its day, and any field in the provenance."""
    found = result(rule_id="MA_CROSS_10_30")
    stored = json.loads(found.stored())
    assert list(stored) == sorted(set(found.document()) - {"doubt"})
    assert stored["provenance"]["doubt"] == found.doubt
    assert result_of_stored(found.stored(), found.chart_base64) == BacktestResult(
        **found.document()
    )
    failed = failed_result(RUN_ID, "NoData", "none")
    assert "doubt" not in failed.stored()
    assert result_of_stored(failed.stored(), None) == BacktestResult(**failed.document())


def test_the_same_bytes_in_another_process() -> None:
    program = (
        "from tests.doubt.test_doubt import result; import sys;"
        "sys.stdout.write(result(rule_id='MA_CROSS_10_30').canonical())"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": "", "MPLCONFIGDIR": "/tmp"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["doubt"]["bands"]


def test_the_name_of_a_run_decides_nothing() -> None:
    asked = request(rule_id="MA_CROSS_10_30")
    rule = rule_from_id(asked.rule_id)
    performed = run_backtest(asked, series("GOOG"), rule, "0" * 64)
    renamed = replace(performed, result=replace(performed.result, run_id=RUN_ID[::-1]))
    assert doubt_of(asked, rule, performed) == doubt_of(asked, rule, renamed)


@pytest.mark.parametrize("version", [FROZEN_VERSION, LARGE_FIGURE_VERSION])
def test_results_of_earlier_versions_say_nothing_of_it(version: str) -> None:
    asked = request(rule_id="MA_CROSS_10_30")
    digest = result().provenance["rules_digest"]
    earlier = {"engine_version": version, "rules_digest": digest}
    found, _ = perform(asked, series("GOOG"), Software(), earlier=earlier)
    assert found.doubt == {}


def test_a_mistake_in_it_costs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_run, "doubt_of", lambda *_: 1 / 0)
    found = result(rule_id="MA_CROSS_10_30")
    assert found.doubt == {}
    assert found.num_trades
