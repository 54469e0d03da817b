"""Files that are frozen have the bytes that are pinned here: the engine and the schemas.

Past results can only be reproduced while the engine's bytes stay: since release 0.1.0 no change to
them is allowed, and new behaviour goes into wrappers (service/engine/). A schema may gain a field
that has a default, and then another digest here; tests/contract/test_compatibility.py sees to it
that nothing else changes. Whatever breaks an earlier document is a v2.
"""

import hashlib

import pytest

from rules.plugins import SAME_SIGNALS, same_digest
from rules.registry import BUILT_IN
from scripts.config import ROOT
from tests.support.prices import TICKERS, prices

# SHA-256 of service/contract/<name>.v1.json
SCHEMAS = {
    "batch": "f638d5ce2e782ca8e6bd190c9342a98fb55b8e1fe0df884fdc447355672c488e",
    "fetch": "060320be3e8d8e87568dc4f7adaf4345a9827c31cfaed2b9c15ed6adb0fb8c2c",
    "request": "961817bfa77b151d49264cebea6062688027d47fae04ae843091dddc87ddd15b",
    "result": "68d9057c2aa73b90d075db9a2e5a966dc580a5e18a236d85797de93b0b422f6d",
    "status": "1175f46702bb33113c1fd5c9f26d507f797c4000996827203221e0cce76bf5c4",
    "sweep": "6069a7ff13617dec08faa49fe421540f073f343a2c7fb4c98a9ea40325ce3dfb",
    "sweep_result": "2c65676430ecb01771cec3da1dc889f27b850aad78979de0ed9aa15ce7c95f41",
}
RELEASED_RULES = (
    "ATR",
    "BB",
    "BREAKOUT",
    "MACD",
    "MA_CROSS",
    "MEAN_REVERSION",
    "MOMENTUM",
    "RSI",
    "TREND",
    "VALUE",
    "VOLUME",
)
# SHA-256 of each file
FROZEN = {
    "backtest/__init__.py": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "backtest/engine.py": "b3d82b3b77531ccd17f99130534dcc807ce76ed57e5b84ed7d29cb31d173fdf8",
    "backtest/kernel.py": "14e2ff43c42b147a0b2cad23ec6bff1beeda5160e1b0cba3ca1422343ada604e",
    "backtest/metrics.py": "0b882f761757dc3ee6ea0fa0fccefeeaa0e5ddb59824f54d8de740832143bef8",
    "backtest/prices.py": "8fe1a3f6f20db9eb3de64816668e4c959556452d32edd1285d9a3c33b6454eab",
    "backtest/trades.py": "90a0bdd123c4ace368351f494c528e4ce476ed631cbff64f762c2e478ef6885d",
    **{f"service/contract/{name}.v1.json": digest for name, digest in SCHEMAS.items()},
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen(name: str) -> None:
    assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == FROZEN[name]


def test_the_rules_give_the_signals_of_the_releases_before() -> None:
    """Every character of `rules/` and `extracted/` is part of the digest of a run.

    With another digest a stored run can only be performed again to the same bytes where its digest
    stands in SAME_SIGNALS. An intended change of signals empties that, and changes the digests of
    this test; it has a line in the CHANGELOG.
    """
    everything = hashlib.sha256()
    for name in RELEASED_RULES:
        for ticker in TICKERS:
            given = BUILT_IN[name]().generate_signals(prices(ticker))
            everything.update(given.to_numpy().tobytes())
    signals = "e14cc78db34f96eb8fd3de6a787d173ab173207b1af82367b88e62575588d534"
    assert everything.hexdigest() == signals
    released = "9e714d3c052e1db32806c66d6ac9437726e0e47edb89f93b422e160e2dfd2f92"
    assert frozenset({released}) == SAME_SIGNALS
    assert same_digest(released, "today") == released
    assert same_digest("another", "today") == "today"


def test_nothing_of_the_engine_is_left_out() -> None:
    engine = {f"backtest/{path.name}" for path in (ROOT / "backtest").glob("*.py")}
    schemas = {
        f"service/contract/{path.name}" for path in (ROOT / "service" / "contract").glob("*.json")
    }
    assert set(FROZEN) == engine | schemas
