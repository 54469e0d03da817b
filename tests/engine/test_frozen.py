"""Files that are frozen have the bytes of their release: the engine and the contracts' schemas.

Past results can only be reproduced, and old clients only served, while these bytes stay. Since
release 0.1.0 no change to them is allowed: new behaviour of the engine goes into a wrapper
(service/engine/enhanced_engine.py), and a schema is followed by a v2.
"""

import hashlib

import pytest

from rules.plugins import rules_digest
from rules.registry import rule_from_id
from scripts.config import ROOT

# SHA-256 of service/contract/<name>.v1.json
SCHEMAS = {
    "request": "0813d4ce669ceceecd66c463dd0a10bab426e7b455844c4df55144b8446c1993",
    "result": "d68de3f54b5ea87be59a925ef896c4b984fddc99802a74cdb39ecc4778aab3c3",
    "status": "1175f46702bb33113c1fd5c9f26d507f797c4000996827203221e0cce76bf5c4",
    "sweep": "26db45c06da8b1aa7c996034a92366f55b5eb4e71d79d5afcb659da9fac4c824",
    "sweep_result": "6bd991c0b51a6b4ee12ac83137dbe7c14defda73d9c16d99e82b0b668e923c3f",
}
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


def test_the_rules_are_those_of_the_last_release() -> None:
    """Every character of `rules/` and `extracted/` is part of the digest.

    With another digest a stored run can be read, but not performed again to the same bytes, and
    runs that wait meet other rules. An intended change of rules changes the digest here, too, and
    has a line in the CHANGELOG.
    """
    digest = "9e714d3c052e1db32806c66d6ac9437726e0e47edb89f93b422e160e2dfd2f92"
    assert rules_digest(rule_from_id("RSI")) == digest


def test_nothing_of_the_engine_is_left_out() -> None:
    engine = {f"backtest/{path.name}" for path in (ROOT / "backtest").glob("*.py")}
    schemas = {
        f"service/contract/{path.name}" for path in (ROOT / "service" / "contract").glob("*.json")
    }
    assert set(FROZEN) == engine | schemas
