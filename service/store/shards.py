"""Sweeps: runs whose work is cut into shards, each claimed and held by a lease as a run is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    and_,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from service.contract.status import SWEEP, Reason, Status
from service.store.database import utc_in
from service.store.rows import FINAL, Run, RunRows, cut
from service.store.tables import runs, sweep_shards, sweeps

MOST_TRIES = 2
DIED = "Its worker died twice, probably for want of memory."
OVER = (Status.COMPLETED, Status.FAILED)

GIVEN_BACK: Mapping[str, Any] = {
    "status": Status.PENDING,
    "lease_until": None,
    "tries": sweep_shards.c.tries - 1,
}


def give_back(connection: Connection, run_id: str) -> None:
    """Every shard that is at work: its worker is ended, and not to blame."""
    which = and_(sweep_shards.c.run_id == run_id, sweep_shards.c.status == Status.RUNNING)
    connection.execute(update(sweep_shards).where(which).values(GIVEN_BACK))


@dataclass(frozen=True)
class Shard:
    """Some rows of a sweep's tickers, one after the other, and what they came to (npz)."""

    shard: int
    first_row: int
    end_row: int
    status: str
    reason: str | None
    message: str | None
    numbers: bytes | None = None


def rows_of_sweep(run_id: str, prices: Mapping[str, str], shards: Sequence[slice]) -> list[Insert]:
    """What belongs to a new sweep beside its run: the series of its tickers, and its shards."""
    parts = [
        {
            "run_id": run_id,
            "shard": number,
            "first_row": part.start,
            "end_row": part.stop,
            "status": Status.PENDING,
        }
        for number, part in enumerate(shards)
    ]
    pinned = insert(sweeps).values(run_id=run_id, prices=json.dumps(prices))
    return [
        pinned,
        insert(sweep_shards).values([{**part, "tries": 0, "attempt": 0} for part in parts]),
    ]


class SweptRuns(RunRows):
    """What workers do with sweeps."""

    def prices_of_sweep(self, run_id: str) -> dict[str, str]:
        """The fingerprint of each ticker's series."""
        with self._engine.connect() as connection:
            text = connection.scalar(select(sweeps.c.prices).where(sweeps.c.run_id == run_id))
        prices: dict[str, str] = json.loads(text or "{}")
        return prices

    def shards(self, run_id: str, numbers: bool = False) -> list[Shard]:
        """All of them in order, what they came to only where it is wanted."""
        names = (
            "shard",
            "first_row",
            "end_row",
            "status",
            "reason",
            "message",
            *(["numbers"] if numbers else []),
        )
        query = select(*(sweep_shards.c[name] for name in names)).where(
            sweep_shards.c.run_id == run_id
        )
        with self._engine.connect() as connection:
            return [Shard(*row) for row in connection.execute(query.order_by(sweep_shards.c.shard))]

    def shard_counts(self, run_id: str) -> tuple[int, int]:
        """How many have ended, and how many there are."""
        over = func.sum(case((sweep_shards.c.status.in_(OVER), 1), else_=0))
        query = select(over, func.count()).where(sweep_shards.c.run_id == run_id)
        with self._engine.connect() as connection:
            ended, every = connection.execute(query).one()
        return int(ended or 0), every

    def start_sweep(self, run_id: str, worker: str) -> bool:
        """The first of its workers is there, not one of a launch that was taken back; the sweep itself has no lease."""
        values = {
            "status": Status.RUNNING,
            "attempt": runs.c.attempt + 1,
            "claimed_by": worker,
            "started_at": func.coalesce(runs.c.started_at, utc_in()),
            "reason": None,
            "message": None,
        }
        return self._change(
            run_id, and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_not(None)), **values
        )

    def restart_sweep(self, run: Run, rules_digest: str) -> bool:
        """With other rules, unless somebody did so already; what was computed with those of before is taken away."""
        theirs = and_(runs.c.status == Status.RUNNING, runs.c.rules_digest == run.rules_digest)
        # who asks for the work that it was accepted for gets nothing of other rules
        values = {"rules_digest": rules_digest, "leads": None, "attempt": runs.c.attempt + 1}
        fresh = {
            "status": Status.PENDING, "tries": 0, "attempt": sweep_shards.c.attempt + 1, "lease_until": None,
            "numbers": None, "reason": None, "message": None,
        }  # fmt: skip

        def write(connection: Connection) -> bool:
            changed = self._changed(connection, run.run_id, theirs, values)
            if changed:
                connection.execute(
                    update(sweep_shards).where(sweep_shards.c.run_id == run.run_id).values(fresh)
                )
            return changed

        return self._write(write)

    def claim_shard(self, run: Run, shard: int, worker: str) -> int | None:
        """Takes a shard that nobody has, or whose worker is silent; the attempt that has it, or None for another's.

        One whose workers fell silent twice has failed. `run` is the sweep as the worker's rules have it.
        """
        run_id = run.run_id
        silent = and_(
            sweep_shards.c.status == Status.RUNNING, sweep_shards.c.lease_until < utc_in()
        )
        given_up = {
            "status": Status.FAILED,
            "reason": Reason.WORKER_LOST,
            "message": DIED,
            "lease_until": None,
        }
        self._change_shard(
            run_id, shard, and_(silent, sweep_shards.c.tries >= MOST_TRIES), given_up
        )
        values = {
            "status": Status.RUNNING,
            "tries": sweep_shards.c.tries + 1,
            "attempt": sweep_shards.c.attempt + 1,
            "claimed_by": worker,
            "lease_until": utc_in(self.lease_seconds),
        }
        same_rules = select(runs.c.id).where(
            runs.c.run_id == run_id, runs.c.rules_digest == run.rules_digest
        )
        free = and_(or_(sweep_shards.c.status == Status.PENDING, silent), same_rules.exists())
        self._change_shard(run_id, shard, free, values)
        return self.shard_held_by(run_id, shard, worker)

    def shard_held_by(self, run_id: str, shard: int, worker: str) -> int | None:
        """The attempt with which this worker has it, also where its claim was not answered; None where it has not."""
        mine = and_(sweep_shards.c.status == Status.RUNNING, sweep_shards.c.claimed_by == worker)
        which = and_(sweep_shards.c.run_id == run_id, sweep_shards.c.shard == shard, mine)
        with self._engine.connect() as connection:
            return connection.scalar(select(sweep_shards.c.attempt).where(which))

    def renew_shard(self, run_id: str, shard: int, attempt: int) -> bool:
        """Keeps the lease; False when the shard was taken away, or its sweep ended or was cancelled."""
        lease = {"lease_until": utc_in(self.lease_seconds)}
        ended = and_(
            sweep_shards.c.status.in_(OVER), sweep_shards.c.attempt == attempt
        )  # by this worker, a moment ago
        return self._change_shard(run_id, shard, or_(_held(attempt), ended), lease)

    def release_shard(self, run_id: str, shard: int, attempt: int) -> bool:
        """Gives it back as if it had not been claimed, also when its sweep was told to start again."""
        which = and_(sweep_shards.c.run_id == run_id, sweep_shards.c.shard == shard, _held(attempt))
        statement = update(sweep_shards).where(which).values(GIVEN_BACK)
        return self._write(lambda connection: connection.execute(statement).rowcount == 1)

    def finish_shard(self, run_id: str, shard: int, attempt: int, numbers: bytes) -> bool:
        """False, and nothing stored, when it was taken away."""
        values = {"status": Status.COMPLETED, "lease_until": None, "numbers": numbers}
        return self._change_shard(run_id, shard, _held(attempt), values)

    def fail_shard(self, run_id: str, shard: int, attempt: int, reason: str, message: str) -> bool:
        """Its rows will be named as failed."""
        values = {
            "status": Status.FAILED,
            "reason": reason,
            "message": cut(message),
            "lease_until": None,
        }
        return self._change_shard(run_id, shard, _held(attempt), values)

    def forget_numbers(self) -> None:
        """Of every sweep that has ended: its table is stored, or it has none."""
        ended_sweep = and_(runs.c.kind == SWEEP, runs.c.status.in_(FINAL))
        kept = and_(sweep_shards.c.run_id == runs.c.run_id, sweep_shards.c.numbers.is_not(None))
        query = select(runs.c.run_id).where(
            ended_sweep, select(sweep_shards.c.shard).where(kept).exists()
        )
        with self._engine.connect() as connection:
            ended = connection.scalars(query).all()
        statement = (
            update(sweep_shards).where(sweep_shards.c.run_id.in_(ended)).values(numbers=None)
        )
        if ended:
            self._write(lambda connection: connection.execute(statement))

    def _change_shard(
        self, run_id: str, shard: int, condition: ColumnElement[bool], values: Mapping[str, Any]
    ) -> bool:
        """Only while its sweep is at work."""
        at_work = (
            select(runs.c.run_id)
            .where(runs.c.run_id == run_id, runs.c.status == Status.RUNNING)
            .exists()
        )
        which = and_(
            sweep_shards.c.run_id == run_id, sweep_shards.c.shard == shard, at_work, condition
        )
        statement = update(sweep_shards).where(which).values(values)
        return self._write(lambda connection: connection.execute(statement).rowcount == 1)


def _held(attempt: int) -> ColumnElement[bool]:
    return and_(sweep_shards.c.status == Status.RUNNING, sweep_shards.c.attempt == attempt)
