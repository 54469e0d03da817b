"""What is stored before and after each change, to the last column that is the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, delete, select

from service.contract.request import parse_request
from service.prices.series import PriceSeries
from service.store import tables
from service.store.leases import CONTROLLER, LeaseStore
from service.store.prices import PriceStore, packed
from service.store.requests import NewRun
from service.store.rows import ActiveRun, Run, StoredResult
from service.usecases.fetches import Fetches
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from tests.support.prices import prices
from tests.support.requests import REQUEST, SWEEP
from tests.support.stores import EveryStore

Action = Callable[[], object]
FIRST, SECOND, THIRD = (f"{number}" * 8 + "-0000-4000-8000-000000000000" for number in (1, 2, 3))
RESULT = StoredResult('{"run_id":"x"}', "Date,equity\n2020-01-02,1\n", "data:image/png;base64,AA")
NAMED = ("run_stars", "run_tags", "run_notes")  # by `id`
OTHER = "OTHER"  # a ticker that is in no other test


class Scene:
    """One database, and what a change needs to be there before."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = EveryStore(engine)
        self.runs = Runs(self.store, PriceStore(engine))
        self.sweeps = Sweeps(self.runs)

    def clear(self) -> None:
        """As it was before everything."""
        kept = select(tables.tickers.c.fingerprint)
        with self.engine.begin() as connection:
            connection.execute(delete(tables.runs))
            connection.execute(delete(tables.leases))
            connection.execute(delete(tables.ticker_names))
            for table in (tables.tickers, tables.price_versions):
                connection.execute(delete(table).where(table.c.ticker == OTHER))
            is_kept = tables.price_series.c.fingerprint.in_(kept)
            connection.execute(delete(tables.price_series).where(~is_kept))

    def submit(self, run_id: str, **change: object) -> Run:
        return self.runs.submit({**REQUEST, "run_id": run_id, **change})[0]

    def launch(self, run_id: str) -> ActiveRun:
        assert self.store.mark_launched(run_id)
        return self.active(run_id)

    def active(self, run_id: str) -> ActiveRun:
        return next(run for run in self.store.active() if run.run_id == run_id)

    def claim(self, run_id: str) -> None:
        self.submit(run_id)
        self.launch(run_id)
        assert self.store.claim(run_id, "w") == 1

    def complete(self, run_id: str) -> None:
        self.claim(run_id)
        assert self.store.finish(run_id, 1, RESULT, {})

    def sweep(self) -> Run:
        """A sweep whose first worker is there."""
        run, _ = self.sweeps.submit({**SWEEP, "run_id": FIRST})
        self.launch(FIRST)
        assert self.store.start_sweep(FIRST, "w")
        return self.sweeps.sweep(run.run_id)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows; moments and numbers of rows, which differ every time, only say `there`."""
        with self.engine.connect() as connection:
            ids = {row.id: row.run_id for row in connection.execute(select(tables.runs))}
            dump = {}
            for name, table in tables.metadata.tables.items():
                rows = connection.execute(select(table)).all()
                named = [_plain(row._mapping, ids if name in NAMED else {}) for row in rows]
                dump[name] = sorted(named, key=repr)
            return dump


def _plain(row: Any, ids: dict[int, str]) -> tuple[Any, ...]:
    return tuple((name, _value(name, value, ids)) for name, value in row.items())


def _value(name: str, value: Any, ids: dict[int, str]) -> Any:
    if name == "id" or isinstance(value, datetime):
        return "there"
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return ids.get(value, value) if name == "runs_id" else value


def _submit(scene: Scene) -> Action:
    return lambda: scene.submit(FIRST)


def _submit_while_another_leads(scene: Scene) -> Action:
    scene.submit(FIRST)
    return lambda: scene.submit(SECOND)


def _submit_what_is_known(scene: Scene) -> Action:
    scene.complete(FIRST)
    return lambda: scene.submit(SECOND)


def _submit_a_batch(scene: Scene) -> Action:
    requests = [parse_request({**REQUEST, "run_id": run_id}) for run_id in (FIRST, SECOND, THIRD)]
    planned = [scene.runs.planned(request) for request in requests]
    several = [NewRun({**each.values, "batch_id": THIRD}, each.work) for each in planned]
    return lambda: scene.store.add_all(several)


def _submit_a_sweep(scene: Scene) -> Action:
    return lambda: scene.sweeps.submit({**SWEEP, "run_id": FIRST})


def _launch(scene: Scene) -> Action:
    scene.submit(FIRST)
    return lambda: scene.store.mark_launched(FIRST)


def _claim(scene: Scene) -> Action:
    scene.submit(FIRST)
    scene.launch(FIRST)
    return lambda: scene.store.claim(FIRST, "w")


def _renew(scene: Scene) -> Action:
    scene.claim(FIRST)
    return lambda: scene.store.renew(FIRST, 1)


def _release(scene: Scene) -> Action:
    scene.claim(FIRST)
    return lambda: scene.store.release(FIRST, 1)


def _finish(scene: Scene) -> Action:
    scene.claim(FIRST)
    scene.submit(SECOND)
    return lambda: scene.store.finish(FIRST, 1, RESULT, {"num_trades": 3})


def _fail(scene: Scene) -> Action:
    scene.claim(FIRST)
    scene.submit(SECOND)
    return lambda: scene.store.fail_attempt(FIRST, 1, "EngineError", "It failed.")


def _cancel_one_that_waits(scene: Scene) -> Action:
    for run_id in (FIRST, SECOND, THIRD):
        scene.submit(run_id)
    return lambda: scene.store.cancel(FIRST)


def _cancel_one_at_work(scene: Scene) -> Action:
    scene.claim(FIRST)
    scene.submit(SECOND)
    return lambda: scene.store.cancel(FIRST)


def _finish_cancelling(scene: Scene) -> Action:
    scene.claim(FIRST)
    scene.store.cancel(FIRST)
    return lambda: scene.store.finish_cancelling(FIRST)


def _requeue(scene: Scene) -> Action:
    scene.claim(FIRST)
    run = scene.active(FIRST)
    return lambda: scene.store.requeue(run)


def _requeue_a_sweep(scene: Scene) -> Action:
    assert scene.store.claim_shard(scene.sweep(), 0, "w") == 1
    run = scene.active(FIRST)
    return lambda: scene.store.requeue(run, counted_launches=0)


def _fail_by_the_controller(scene: Scene) -> Action:
    scene.claim(FIRST)
    scene.submit(SECOND)
    run = scene.active(FIRST)
    return lambda: scene.store.fail(run, "Timeout", "Too long.", '{"log":[]}')


def _set_aside(scene: Scene) -> Action:
    scene.claim(FIRST)
    with scene.engine.begin() as connection:
        change = tables.runs.update().where(tables.runs.c.run_id == FIRST)
        connection.execute(change.values(kind="nothing"))
    run = scene.active(FIRST)
    assert run.bad_columns == ("kind",)
    return lambda: scene.store.set_aside(run)


def _note(scene: Scene) -> Action:
    scene.submit(FIRST)
    run = scene.launch(FIRST)
    return lambda: scene.store.note(run, "Unschedulable", "No node.")


def _start_a_sweep(scene: Scene) -> Action:
    scene.sweeps.submit({**SWEEP, "run_id": FIRST})
    scene.launch(FIRST)
    return lambda: scene.store.start_sweep(FIRST, "w")


def _restart_a_sweep(scene: Scene) -> Action:
    run = scene.sweep()
    assert scene.store.claim_shard(run, 0, "w") == 1
    return lambda: scene.store.restart_sweep(run, "e" * 64)


def _claim_a_shard(scene: Scene) -> Action:
    run = scene.sweep()
    return lambda: scene.store.claim_shard(run, 0, "w")


def _finish_a_shard(scene: Scene) -> Action:
    assert scene.store.claim_shard(scene.sweep(), 0, "w") == 1
    return lambda: scene.store.finish_shard(FIRST, 0, 1, b"numbers")


def _fail_a_shard(scene: Scene) -> Action:
    assert scene.store.claim_shard(scene.sweep(), 0, "w") == 1
    return lambda: scene.store.fail_shard(FIRST, 0, 1, "EngineError", "It failed.")


def _release_a_shard(scene: Scene) -> Action:
    assert scene.store.claim_shard(scene.sweep(), 0, "w") == 1
    return lambda: scene.store.release_shard(FIRST, 0, 1)


def _finish_a_sweep(scene: Scene) -> Action:
    run = scene.sweep()
    return lambda: scene.store.finish_sweep(FIRST, run.attempt, RESULT, {})


def _forget_numbers(scene: Scene) -> Action:
    run = scene.sweep()
    assert scene.store.claim_shard(run, 0, "w") == 1
    assert scene.store.finish_shard(FIRST, 0, 1, b"numbers")
    assert scene.store.finish_sweep(FIRST, run.attempt, RESULT, {})
    return scene.store.forget_numbers


def _delete_what_others_have(scene: Scene) -> Action:
    scene.complete(FIRST)
    scene.submit(SECOND)
    scene.submit(THIRD)
    return lambda: scene.store.delete([FIRST])


def _measure(scene: Scene) -> Action:
    scene.complete(FIRST)
    return lambda: scene.store.measure(9)


def _drop_the_oldest(scene: Scene) -> Action:
    scene.complete(FIRST)
    scene.store.measure(9)
    return lambda: scene.store.drop_oldest(1, 9, None)


def _expire(scene: Scene) -> Action:
    scene.complete(FIRST)
    with scene.engine.begin() as connection:
        connection.execute(tables.runs.update().values(finished_at=datetime(2020, 1, 1)))
    return lambda: scene.store.expire(30, 9, None)


def _explain(scene: Scene) -> Action:
    scene.claim(FIRST)
    assert scene.store.fail_attempt(FIRST, 1, "EngineError", "It failed.")
    return lambda: scene.store.explain(FIRST, '{"log":[]}')


def _star(scene: Scene) -> Action:
    ids = [scene.submit(FIRST).id, scene.submit(SECOND).id]
    return lambda: scene.store.star(ids, True)


def _tag(scene: Scene) -> Action:
    ids = [scene.submit(FIRST).id, scene.submit(SECOND).id]
    scene.store.tag(ids, ["old"], [])
    return lambda: scene.store.tag(ids, ["new"], ["old"])


def _write_a_note(scene: Scene) -> Action:
    run = scene.submit(FIRST)
    return lambda: scene.store.write_note(run.id, "a note", 0)


def _take_the_lease(scene: Scene) -> Action:
    leases = LeaseStore(scene.engine)
    return lambda: leases.take(CONTROLLER, "c", 6)


def _save_prices(scene: Scene) -> Action:
    new = PriceSeries(OTHER, "other", prices("GOOG", 300))
    return lambda: PriceStore(scene.engine).save(new)


def _replace_prices(scene: Scene) -> Action:
    store = PriceStore(scene.engine)
    store.save(PriceSeries(OTHER, "other", prices("GOOG", 300)))
    new = PriceSeries(OTHER, "other", prices("GOOG", 301))
    return lambda: store.save(new)


def _finish_fetch(scene: Scene) -> Action:
    _replace_prices(scene)
    Fetches(scene.runs).submit({"run_id": FIRST, "ticker": OTHER, "end_date": "2020-01-01"})
    scene.launch(FIRST)
    scene.store.claim(FIRST, "w")
    new = packed(PriceSeries(OTHER, "vendor", prices("GOOG", 320)))
    return lambda: scene.store.finish_fetch(
        FIRST, 1, new, "kim", lambda is_new: f'{{"is":{is_new:d}}}'
    )


def _name_a_ticker(scene: Scene) -> Action:
    store = PriceStore(scene.engine)
    store.add_names([("Alphabet", "GOOG"), ("구글", "SPY")])
    return lambda: store.add_names([("구글", "GOOG"), ("Google", "GOOG")])


def _drop_prices(scene: Scene) -> Action:
    _replace_prices(scene)()
    with scene.engine.begin() as connection:
        connection.execute(tables.price_series.update().values(created_at=datetime(2020, 1, 1)))
    unreferenced = scene.store.unreferenced_series()
    assert len(unreferenced) == 1
    return lambda: scene.store.drop_series(unreferenced)


CHANGES = {
    action.__name__.strip("_"): action
    for action in (
        _submit,
        _submit_while_another_leads,
        _submit_what_is_known,
        _submit_a_batch,
        _submit_a_sweep,
        _launch,
        _claim,
        _renew,
        _release,
        _finish,
        _fail,
        _cancel_one_that_waits,
        _cancel_one_at_work,
        _finish_cancelling,
        _requeue,
        _requeue_a_sweep,
        _fail_by_the_controller,
        _set_aside,
        _note,
        _start_a_sweep,
        _restart_a_sweep,
        _claim_a_shard,
        _finish_a_shard,
        _fail_a_shard,
        _release_a_shard,
        _finish_a_sweep,
        _forget_numbers,
        _delete_what_others_have,
        _measure,
        _drop_the_oldest,
        _expire,
        _explain,
        _star,
        _tag,
        _write_a_note,
        _take_the_lease,
        _save_prices,
        _replace_prices,
        _finish_fetch,
        _name_a_ticker,
        _drop_prices,
    )
}
