"""The loader validates before it stores, stores a ticker whole or not, and says what to do."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from scripts import data_loader
from scripts.config import ROOT, Config
from service.store.database import connect
from service.store.prices import PriceStore
from tests.support.price_defects import CLEAN, DEFECTS


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriceStore:
    config = Config(sqlite_path=str(tmp_path / "loader.sqlite3"))
    monkeypatch.setattr(data_loader, "load_config", lambda: config)
    return PriceStore(connect(config))


def test_importing_the_sample_prices(store: PriceStore, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(path) for path in (ROOT / "data").glob("*.csv"))
    assert data_loader.main(["import", *files]) == 0
    assert len(store.tickers()) == 12
    out = capsys.readouterr().out
    assert (
        "GOOG: 2699 bars from 2013-01-02 to 2023-09-21, "
        "5 warnings (python scripts/qa_prices.py GOOG)" in out
    )
    assert data_loader.main(["import", "--missing-only", *files]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "defect", [name for name, (_, severity, _) in DEFECTS.items() if severity == "error"]
)
def test_prices_with_an_error_are_not_stored(
    store: PriceStore, tmp_path: Path, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, _, code = DEFECTS[defect]
    good = tmp_path / "GOOD.csv"
    bad = tmp_path / "BAD.csv"
    CLEAN.to_csv(good)
    change(CLEAN.copy()).to_csv(bad)
    assert data_loader.main(["import", str(bad), str(good)]) == 1
    assert [ticker.ticker for ticker in store.tickers()] == ["GOOD"]
    assert f"BAD.csv: not stored. {code} at " in capsys.readouterr().err


@pytest.mark.parametrize(
    "defect", [name for name, (_, severity, _) in DEFECTS.items() if severity == "warning"]
)
def test_prices_with_a_warning_are_stored(
    store: PriceStore, tmp_path: Path, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "aapl.csv"
    DEFECTS[defect][0](CLEAN.copy()).to_csv(path)
    assert data_loader.main(["import", str(path)]) == 0
    assert [ticker.ticker for ticker in store.tickers()] == ["AAPL"]
    assert "1 warnings" in capsys.readouterr().out


def test_a_bad_file_leaves_the_stored_series(store: PriceStore, tmp_path: Path) -> None:
    path = tmp_path / "X.csv"
    CLEAN.to_csv(path)
    data_loader.main(["import", str(path)])
    before = store.ticker("X")
    path.write_text("nonsense")
    assert data_loader.main(["import", str(path)]) == 1
    assert store.ticker("X") == before


def test_names_that_are_no_tickers(
    store: PriceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my prices.csv"
    CLEAN.to_csv(path)
    assert data_loader.main(["import", str(path)]) == 1
    assert "MY PRICES is no ticker" in capsys.readouterr().err
    assert data_loader.main(["import", "--ticker", "MINE", str(path)]) == 0
    assert store.ticker("MINE") is not None


def test_what_was_recognised_is_said(
    store: PriceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "SEMI.csv"
    CLEAN.iloc[::-1].to_csv(path, sep=";", decimal=",")
    assert data_loader.main(["import", str(path)]) == 0
    out = capsys.readouterr().out
    for note in (
        "separated by semicolons.",
        "stand after a comma.",
        "bar came first: turned around.",
    ):
        assert f"{note}\n" in out
    series = store.read(str(store.tickers()[0].fingerprint))
    assert series is not None
    assert series.data.to_numpy().tolist() == CLEAN.to_numpy().tolist()


def test_a_dry_run_shows_everything_and_stores_nothing(
    store: PriceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "GOOD.csv", tmp_path / "BAD.csv"
    CLEAN.assign(Volume=0.0).to_csv(good)
    bad.write_text("nonsense")
    assert data_loader.main(["import", "--dry-run", str(good), str(bad)]) == 1
    shown = capsys.readouterr()
    assert str(CLEAN.index[0].date()) in shown.out
    assert "NoVolume" in shown.out
    assert f"1 of 2 can be stored; not stored: {bad}" in shown.err
    assert store.tickers() == []


def test_the_surprise_of_one_file_ends_no_other(
    store: PriceStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("A", "B", "C"):
        CLEAN.to_csv(tmp_path / f"{name}.csv")
    read_file = data_loader.read_file

    def surprised(path: Path, ticker: str) -> object:
        if ticker == "B":
            raise ZeroDivisionError("surprise")
        return read_file(path, ticker)

    monkeypatch.setattr(data_loader, "read_file", surprised)
    files = [str(tmp_path / f"{name}.csv") for name in ("A", "B", "C")]
    assert data_loader.main(["import", *files]) == 1
    assert [ticker.ticker for ticker in store.tickers()] == ["A", "C"]
    err = capsys.readouterr().err
    assert "ZeroDivisionError: surprise" in err
    assert f"2 of 3 stored; not stored: {files[1]}" in err


def vendor(
    monkeypatch: pytest.MonkeyPatch, answer: pd.DataFrame | Exception
) -> list[dict[str, object]]:
    """A yfinance that answers so; what it was asked."""
    calls: list[dict[str, object]] = []

    class Ticker:
        def __init__(self, name: str) -> None:
            self.name = name

        def history(self, **words: object) -> pd.DataFrame:
            calls.append({"ticker": self.name, **words})
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setitem(sys.modules, "yfinance", types.SimpleNamespace(Ticker=Ticker))
    return calls


DOWNLOAD = ["--tickers", "aapl", "--start", "2020-01-01", "--end", "2020-12-31"]


def test_downloading(store: PriceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    table = CLEAN.assign(Dividends=0.0)
    table.index = table.index.tz_localize("America/New_York")
    calls = vendor(monkeypatch, table)
    assert data_loader.main(DOWNLOAD) == 0
    assert calls[0]["ticker"] == "AAPL"
    assert str(calls[0]["end"])[:10] == "2021-01-01", "the last day is included"
    ticker = store.ticker("AAPL")
    assert ticker is not None
    assert ticker.source == "Yahoo Finance via yfinance"
    series = store.read(ticker.fingerprint)
    assert series is not None
    assert series.data.to_numpy().tolist() == CLEAN.to_numpy().tolist()
    assert (series.data.index == CLEAN.index).all()


def test_the_unfinished_bar_of_today_is_left_out(
    store: PriceStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = CLEAN.copy()
    table.iloc[-1, :4] = float("nan")
    vendor(monkeypatch, table)
    assert data_loader.main(DOWNLOAD) == 0
    assert "The last bar has no prices yet: left out." in capsys.readouterr().out
    ticker = store.ticker("AAPL")
    assert ticker is not None
    assert ticker.bars == len(CLEAN) - 1


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (RuntimeError("Too Many Requests. Rate limited."), "try again in an hour, or store a file"),
        (ConnectionError("Could not resolve host"), "(ConnectionError): the network is away"),
        (ValueError("no such symbol"), "(ValueError: no such symbol); check the ticker"),
        (ValueError(), "no reason given"),
        (CLEAN.iloc[:0], "has no prices of AAPL from 2020-01-01 to 2020-12-31"),
        (CLEAN.iloc[[0, 2, 1]], "not stored. Unsorted at"),
    ],
)
def test_when_the_vendor_gives_nothing_good(
    store: PriceStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    advice: str,
) -> None:
    vendor(monkeypatch, answer)  # type: ignore[arg-type]
    assert data_loader.main(DOWNLOAD) == 1
    err = capsys.readouterr().err
    assert "AAPL: not stored." in err
    assert advice in err
    assert "Traceback" not in err
    assert store.ticker("AAPL") is None


def test_dividends_and_splits_come_too(store: PriceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    table = CLEAN.assign(Dividends=0.0, **{"Stock Splits": 0.0})
    table.iloc[3, 5], table.iloc[5, 6] = 0.22, 4.0
    (calls := vendor(monkeypatch, table)).clear()
    assert data_loader.main(DOWNLOAD) == 0
    assert calls[0]["actions"] is True
    (version,) = store.versions("AAPL", 5)
    days = [index.date() for index in table.index[[3, 5]]]
    assert [(each.day, each.dividend, each.split) for each in version.actions] == [
        (days[0], 0.22, 0.0),
        (days[1], 0.0, 4.0),
    ]


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (CLEAN.drop(columns="Volume"), "answered without Volume"),
        (CLEAN * float("nan"), "has no prices of AAPL"),
        (CLEAN.reset_index(drop=True), "answered without Date"),
        (None, "its answer is no table"),
        (CLEAN.astype(object).replace(CLEAN.iloc[3, 1], "n/a"), "High is nan"),
        (CLEAN.iloc[:1], "TooShort"),
    ],
)
def test_when_the_vendor_answers_half(
    store: PriceStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    advice: str,
) -> None:
    vendor(monkeypatch, answer)  # type: ignore[arg-type]
    assert data_loader.main(DOWNLOAD) == 1
    err = capsys.readouterr().err
    assert advice in err
    assert "Traceback" not in err
    assert store.tickers() == []


def test_rows_without_anything_are_left_out(
    store: PriceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = CLEAN.copy()
    table.iloc[[3, 9]] = float("nan")
    vendor(monkeypatch, table)
    assert data_loader.main(DOWNLOAD) == 0
    assert store.tickers()[0].bars == len(CLEAN) - 2


@pytest.mark.process
def test_many_files_are_read_on_all_cores(
    store: PriceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(data_loader.MANY_FILES):
        CLEAN.iloc[: 100 + number].to_csv(tmp_path / f"T{number:02}.csv")
    (tmp_path / "T07.csv").write_text("nonsense")
    files = sorted(map(str, tmp_path.glob("*.csv")))
    assert data_loader.main(["import", *files]) == 1
    shown = capsys.readouterr()
    assert [line.split(":")[0] for line in shown.out.splitlines() if ":" in line][:3] == [
        "T00",
        "T01",
        "T02",
    ]
    assert f"{len(files) - 1} of {len(files)} stored; not stored: " in shown.err
    assert {each.ticker: each.bars for each in store.tickers()} == {
        f"T{number:02}": 100 + number for number in range(data_loader.MANY_FILES) if number != 7
    }


def test_what_is_there_already_is_not_judged_again(
    store: PriceStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "A.csv"
    CLEAN.to_csv(path)
    assert data_loader.main(["import", str(path)]) == 0
    monkeypatch.setattr(data_loader, "judgement_of", lambda *_: 1 / 0)
    assert data_loader.main(["import", str(path)]) == 0
    assert f"A: {len(CLEAN)} bars, as they are stored" in capsys.readouterr().out
    monkeypatch.setattr(data_loader, "gate_name", lambda: "another")
    assert data_loader.main(["import", str(path)]) == 1


def test_two_files_of_one_ticker_are_stored_one_after_the_other(
    store: PriceStore, tmp_path: Path
) -> None:
    paths = [tmp_path / folder / "X.csv" for folder in ("a", "b")]
    for path, bars in zip(paths, (100, 200), strict=True):
        path.parent.mkdir()
        CLEAN.iloc[:bars].to_csv(path)
    assert data_loader.main(["import", str(paths[1])]) == 0
    assert data_loader.main(["import", *map(str, paths)]) == 0
    assert [each.bars for each in store.tickers()] == [200]


def test_a_file_may_be_named_by_the_name_of_its_ticker(store: PriceStore, tmp_path: Path) -> None:
    assert data_loader.main(["import", str(ROOT / "data" / "GOOG.csv")]) == 0
    store.add_names([("삼성전자", "005930"), ("GS", "078930")])
    for name in ("삼성전자", "GS"):
        CLEAN.to_csv(tmp_path / f"{name}.csv")
        assert data_loader.main(["import", str(tmp_path / f"{name}.csv")]) == 0
    assert [each.ticker for each in store.tickers()] == ["005930", "GOOG", "GS"]


def test_fetches_by_jobs(store: PriceStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_loader.main(["fetch", "--tickers", "aapl", "MSFT"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["AAPL", "MSFT"]
    assert data_loader.main(["fetch", "--tickers", "a b"]) == 1
    assert "Nothing is asked for. ticker must be" in capsys.readouterr().err


def test_names_come_with_a_file_or_from_a_listing(
    store: PriceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    CLEAN.to_csv(path)
    words = ["import", "--ticker", "005930", "--name", "삼성전자", str(path)]
    assert data_loader.main(words) == 0
    listing = tmp_path / "krx.csv"
    listing.write_bytes(
        "종목코드;한글 종목명\n035420;NAVER\n;빈칸\n바보;이름\n000660;SK하이닉스\n".encode("cp949")
    )
    assert data_loader.main(["names", str(listing)]) == 0
    assert "2 names" in capsys.readouterr().out
    assert store.names() == {"005930": ["삼성전자"], "035420": ["NAVER"], "000660": ["SK하이닉스"]}
    assert data_loader.main(["names", "--remove", str(listing)]) == 0
    assert store.names() == {"005930": ["삼성전자"]}
    listing.write_text("a,b\n1,2\n")
    assert data_loader.main(["names", str(listing)]) == 1
    assert "such as Code or Symbol" in capsys.readouterr().err
    assert data_loader.main(["names", str(tmp_path / "none.csv")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--tickers"),
        (
            ["--tickers", "A", "--start", "2020-01-02", "--end", "2020-01-01"],
            "--start must be before --end",
        ),
        (["--tickers", "A", "--end", "soon"], "--end"),
        (["import"], "files"),
        (["import", "--ticker", "A", "a.csv", "b.csv"], "--ticker and --name go with one file"),
    ],
)
def test_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        data_loader.parse_arguments(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_engine_fixture_is_sqlite(engine: Engine) -> None:
    assert engine.dialect.name == "sqlite"
