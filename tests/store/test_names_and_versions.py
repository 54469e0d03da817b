"""Names of tickers, the prices that a ticker had, and what the data gate found in them."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from service.prices.action import Action
from service.prices.finding import Finding
from service.prices.series import PriceSeries
from service.store.names import MAX_NAME, key_of, shown_name
from service.store.prices import PriceStore, packed
from service.store.tables import price_series, price_versions
from service.usecases.runs import Runs
from tests.support.prices import prices
from tests.support.requests import REQUEST

GATE = "a" * 64
FINDING = Finding("warning", "ZeroVolume", "2013-01-04", "the volume is 0")


@pytest.fixture
def store(engine: Engine) -> PriceStore:
    return PriceStore(engine)


def of_bars(count: int, ticker: str = "NEW") -> PriceSeries:
    return PriceSeries(ticker, f"{count}.csv", prices("GOOG", count))


def test_a_name_is_found_however_it_is_written(store: PriceStore) -> None:
    store.add_names([("Alphabet  Inc", "GOOG"), ("삼성전자", "005930")])
    parts = unicodedata.normalize("NFD", "삼성전자")
    assert parts != "삼성전자"
    asked = {"alphabet inc", "ALPHABET INC", parts, "ＡＬＰＨＡＢＥＴ Inc", "GOOG", "삼성", "goog"}
    assert store.tickers_of(asked) == {
        "alphabet inc": "GOOG",
        "ALPHABET INC": "GOOG",
        "ＡＬＰＨＡＢＥＴ Inc": "GOOG",
        parts: "005930",
    }
    assert store.names() == {"005930": ["삼성전자"], "GOOG": ["Alphabet Inc"]}
    known = store.ticker("GOOG")
    assert known is not None
    assert known.names == ("Alphabet Inc",)
    assert [each.names for each in store.tickers()] == [("Alphabet Inc",), ()]


def test_what_is_written_as_a_ticker_is_no_name_of_another(store: PriceStore) -> None:
    store.add_names([("GS", "078930"), ("Spyder", "SPY")])
    assert store.tickers_of(["GS", "SPYDER", "Spyder", "gs"]) == {"Spyder": "SPY", "gs": "078930"}
    assert store.ticker_named("GS") == "078930"
    assert store.ticker_named("KT") is None


def test_names_are_taken_away(store: PriceStore) -> None:
    store.add_names([("구글", "GOOG"), ("Google", "GOOG")])
    assert store.remove_names(["GOOGLE", "none"]) == 1
    assert store.names() == {"GOOG": ["구글"]}


def test_a_name_is_that_of_the_last_ticker_that_got_it(store: PriceStore) -> None:
    store.add_names([("Google", "GOOGL"), ("google", "GOOG")])
    assert store.names() == {"GOOG": ["google"]}
    store.add_names([("GOOGLE", "SPY"), ("  ", "SPY"), ("", "GOOG")])
    assert store.names() == {"SPY": ["GOOGLE"]}


def test_thousands_of_names(store: PriceStore) -> None:
    store.add_names((f"종목 {number}", f"{number:06}") for number in range(3_000))
    assert len(store.names()) == 3_000
    assert store.tickers_of(["종목 2999"]) == {"종목 2999": "002999"}


@given(st.text(max_size=300))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_a_name_or_none(text: str) -> None:
    key, shown = key_of(text), shown_name(text)
    assert max(len(key), len(shown)) <= MAX_NAME
    # Large letters may become two small ones, and the end of a long name is cut off.
    assert key_of(shown) == key or MAX_NAME in (len(shown), len(key))
    assert shown.isprintable()


def test_each_change_of_the_prices_is_a_version(store: PriceStore) -> None:
    first, second = of_bars(50), of_bars(60)
    for each in (first, first, second, second, first):
        store.save(each)
    versions = store.versions("NEW", 10)
    assert [each.fingerprint for each in versions] == [
        first.fingerprint,
        second.fingerprint,
        first.fingerprint,
    ]
    assert [each.bars for each in versions] == [50, 60, 50]
    assert versions[1].source == "60.csv"
    assert (versions[1].first_day, versions[1].runs) == (date(2013, 1, 2), 0)
    assert [each.bars for each in store.versions("NEW", 1)] == [50]


def test_a_version_says_who_stored_it_and_what_was_paid(store: PriceStore) -> None:
    actions = (Action(date(2013, 1, 4), 0.25), Action(date(2013, 2, 1), 0.0, 4.0))
    store.save_packed(packed(of_bars(50), actions=actions), "kim")
    (version,) = store.versions("NEW", 10)
    assert version.client == "kim"
    assert tuple(version.actions) == actions


def test_actions_may_come_later_with_the_same_bars(store: PriceStore) -> None:
    store.save(of_bars(50))
    actions = (Action(date(2013, 1, 4), 0.25),)
    store.save_packed(packed(of_bars(50), actions=actions))
    store.save(of_bars(50))
    (version,) = store.versions("NEW", 10)
    assert tuple(version.actions) == actions


def test_actions_are_kept_of_the_newest_version(store: PriceStore) -> None:
    for count in (50, 60):
        store.save_packed(packed(of_bars(count), actions=[Action(date(2013, 1, 4), count / 100)]))
    newest, before = store.versions("NEW", 10)
    assert [action.dividend for action in newest.actions] == [0.6]
    assert list(before.actions) == []


def test_prices_that_another_release_stored_get_a_version_with_the_next_import(
    engine: Engine, store: PriceStore
) -> None:
    store.save(of_bars(50))
    with engine.begin() as connection:
        connection.execute(delete(price_versions).where(price_versions.c.ticker == "NEW"))
    assert store.versions("NEW", 10) == []
    store.save(of_bars(50))
    assert [each.bars for each in store.versions("NEW", 10)] == [50]


def test_a_benchmark_refers_to_its_prices(runs: Runs, store: PriceStore) -> None:
    runs.submit({**REQUEST, "benchmark": "SPY"})
    assert [each.runs for each in store.versions("SPY", 10)] == [1]


def test_versions_count_the_runs_that_refer_to_them(runs: Runs, store: PriceStore) -> None:
    for fast in (5, 6):
        runs.submit({**REQUEST, "run_id": _id(fast), "params": {"fast": fast}})
    assert [each.runs for each in store.versions("GOOG", 10)] == [2]


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def test_a_version_that_cannot_be_read_hides_no_other(engine: Engine, store: PriceStore) -> None:
    store.save(of_bars(50))
    store.save(of_bars(60))
    for change in ({"actions": "{"}, {"actions": '[{"day":"x"}]'}, {"first_day": "someday"}):
        with engine.begin() as connection:
            is_first = price_versions.c.bars == 50
            kept = {"actions": None, "first_day": "2013-01-02", **change}
            connection.execute(update(price_versions).where(is_first).values(kept))
        assert [each.bars for each in store.versions("NEW", 10)] == [60]


def test_what_a_gate_found_is_remembered(engine: Engine, store: PriceStore) -> None:
    one = of_bars(50)
    store.save(one)
    assert store.findings(one.fingerprint, GATE) is None
    store.keep_findings(one.fingerprint, GATE, [FINDING])
    assert store.findings(one.fingerprint, GATE) == [FINDING]
    assert store.findings(one.fingerprint, "b" * 64) is None
    assert store.judged_by(GATE) == {"NEW": one.fingerprint}
    # Stored again without being asked, it stays; asked again, the new one counts.
    store.save(one)
    assert store.findings(one.fingerprint, GATE) == [FINDING]
    store.save_packed(packed(one, "b" * 64))
    assert store.findings(one.fingerprint, "b" * 64) == []
    for broken in ("{", '[{"code": 1}]', "[1]"):
        with engine.begin() as connection:
            connection.execute(update(price_series).values(findings=broken))
        assert store.findings(one.fingerprint, "b" * 64) is None
