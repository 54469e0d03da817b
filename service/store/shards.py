"""What a worker asks of the database for a sweep: its shards, each claimed and held as a run is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    case,
    cast,
    func,
    insert,
    or_,
    select,
    update,
)

from service.contract.status import SWEEP, Reason, Status
from service.store.claims import ClaimStore, ran_out_by_clock
from service.store.database import utc_in
from service.store.rows import FINAL, Run, fitting_message, reading, update_run
from service.store.tables import runs, sweep_shards, sweeps

MAX_TRIES = 2
LOST_MESSAGE = "Its worker died twice, probably for want of memory."
ENDED_STATUSES = (Status.COMPLETED, Status.FAILED)

GIVEN_BACK_VALUES: Mapping[str, Any] = {
    "status": Status.PENDING,
    "lease_until": None,
    "tries": sweep_shards.c.tries - 1,
}


@dataclass(frozen=True)
class Shard:
    """Some rows of a sweep's tickers, one ticker after the other, and what they came to.

    The rows are `first_row` to `end_row` - 1; `numbers` is the text of `service.search`.
    """

    shard: int
    first_row: int
    end_row: int
    status: str
    reason: str | None
    message: str | None
    numbers: bytes | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED_STATUSES


@dataclass(frozen=True)
class NewSweep:
    """What is recorded with the run of a sweep.

    `fingerprints` names the price series of each ticker, `shards` the rows of each shard.
    """

    fingerprints: Mapping[str, str]
    shards: Sequence[slice]

    @property
    def rows(self) -> int:
        """Of all its shards."""
        return int(self.shards[-1].stop)


def insert_sweep(connection: Connection, run_id: str, sweep: NewSweep) -> None:
    """Records what belongs to a sweep beside its run."""
    shard_rows = [
        {
            "run_id": run_id,
            "shard": number,
            "first_row": rows.start,
            "end_row": rows.stop,
            "status": Status.PENDING,
            "tries": 0,
            "attempt": 0,
        }
        for number, rows in enumerate(sweep.shards)
    ]
    sweep_row = {"run_id": run_id, "prices": json.dumps(sweep.fingerprints)}
    connection.execute(insert(sweeps).values(sweep_row))
    connection.execute(insert(sweep_shards).values(shard_rows))


def count_shards(connection: Connection, run_id: str) -> tuple[int, int]:
    """How many shards of a sweep have ended, and how many there are."""
    ended = func.sum(case((sweep_shards.c.status.in_(ENDED_STATUSES), 1), else_=0)).label("ended")
    query = select(ended, func.count().label("total")).where(sweep_shards.c.run_id == run_id)
    counts = connection.execute(query).one()
    return int(counts.ended or 0), counts.total


def give_back_shards(connection: Connection, run_id: str) -> None:
    """Every shard at work goes back, uncounted: its worker was ended and is not to blame."""
    is_at_work = and_(sweep_shards.c.run_id == run_id, sweep_shards.c.status == Status.RUNNING)
    connection.execute(update(sweep_shards).where(is_at_work).values(GIVEN_BACK_VALUES))


def ended_sweeps_with_numbers(connection: Connection) -> Sequence[str]:
    """Sweeps that need the numbers of their shards no more: their table is stored."""
    is_ended_sweep = and_(runs.c.kind == SWEEP, runs.c.status.in_(FINAL))
    is_kept = and_(sweep_shards.c.run_id == runs.c.run_id, sweep_shards.c.numbers.is_not(None))
    has_numbers = select(sweep_shards.c.shard).where(is_kept).exists()
    return connection.scalars(select(runs.c.run_id).where(is_ended_sweep, has_numbers)).all()


def drop_numbers(connection: Connection, run_ids: Sequence[str]) -> None:
    """Drops what the shards of these sweeps came to."""
    is_of_them = sweep_shards.c.run_id.in_(run_ids)
    connection.execute(update(sweep_shards).where(is_of_them).values(numbers=None))


class ShardStore(ClaimStore):
    """The sweeps of one database, as a worker sees them."""

    def fingerprints(self, run_id: str) -> dict[str, str]:
        """The fingerprint of each ticker's price series."""
        query = select(sweeps.c.prices).where(sweeps.c.run_id == run_id)
        text = self._read(lambda connection: connection.scalar(query))
        with reading(f"The list of the prices of sweep {run_id}"):
            fingerprints: dict[str, str] = json.loads(text or "{}")
            return fingerprints

    def shards(self, run_id: str, with_numbers: bool = False) -> list[Shard]:
        """All of them in order; their numbers, which are large, only where they are wanted."""
        names = ["shard", "first_row", "end_row", "status", "reason", "message"]
        if with_numbers:
            names.append("numbers")
        columns = [sweep_shards.c[name] for name in names]
        query = select(*columns).where(sweep_shards.c.run_id == run_id)
        query = query.order_by(sweep_shards.c.shard)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [Shard(**row._mapping) for row in rows]

    def start_sweep(self, run_id: str, worker: str) -> bool:
        """Notes that the first of its workers is there; the sweep itself has no lease.

        Nothing happens for a worker of a launch that was taken back.
        """
        is_launched = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_not(None))
        return self._update(
            run_id,
            is_launched,
            status=Status.RUNNING,
            attempt=runs.c.attempt + 1,
            claimed_by=worker,
            started_at=func.coalesce(runs.c.started_at, utc_in()),
            reason=None,
            message=None,
        )

    def restart_sweep(self, run: Run, rules_digest: str) -> bool:
        """Begins the sweep again, mostly with other rules, unless another worker has done so.

        What was computed before is dropped. The run leads its work no longer:
        whoever asks for the work that it was accepted for gets nothing of other rules.
        """
        has_not_begun_again = and_(
            runs.c.status == Status.RUNNING, runs.c.rules_digest == run.rules_digest
        )
        if rules_digest == run.rules_digest:
            # The rules do not tell whether it has begun again: the attempt does.
            has_not_begun_again = and_(has_not_begun_again, runs.c.attempt == run.attempt)
        values = {"rules_digest": rules_digest, "leads": None, "attempt": runs.c.attempt + 1}
        new_shard_values = {
            "status": Status.PENDING,
            "tries": 0,
            "attempt": sweep_shards.c.attempt + 1,
            "lease_until": None,
            "numbers": None,
            "reason": None,
            "message": None,
        }

        def write(connection: Connection) -> bool:
            changed = update_run(connection, run.run_id, has_not_begun_again, values)
            if changed:
                is_its = sweep_shards.c.run_id == run.run_id
                connection.execute(update(sweep_shards).where(is_its).values(new_shard_values))
            return changed

        return self._write(write)

    def claim_shard(self, run: Run, shard: int, worker: str) -> int | None:
        """Takes a waiting shard, or one whose lease ran out; the attempt that has it, or None.

        One whose lease ran out in MAX_TRIES attempts has failed. `run` is the sweep as the worker
        read it: one that has begun again with other rules meanwhile gives nothing.
        """
        run_id = run.run_id
        abandoned = self._abandoned_shard(run_id, shard)
        is_running = sweep_shards.c.status == Status.RUNNING
        lease_ran_out = and_(is_running, sweep_shards.c.attempt == abandoned)
        is_lost = and_(lease_ran_out, sweep_shards.c.tries >= MAX_TRIES)
        lost_values = _failure_values(Reason.WORKER_LOST, LOST_MESSAGE)
        self._update_shard(run_id, shard, is_lost, lost_values)
        claim_values = {
            "status": Status.RUNNING,
            "tries": sweep_shards.c.tries + 1,
            "attempt": sweep_shards.c.attempt + 1,
            "claimed_by": worker,
            "lease_until": utc_in(self.lease_seconds),
        }
        is_this_sweep = and_(runs.c.run_id == run_id, runs.c.rules_digest == run.rules_digest)
        has_same_rules = select(runs.c.id).where(is_this_sweep).exists()
        is_waiting = sweep_shards.c.status == Status.PENDING
        is_free = and_(or_(is_waiting, lease_ran_out), has_same_rules)
        self._update_shard(run_id, shard, is_free, claim_values)
        return self.attempt_of(run_id, shard, worker)

    def _abandoned_shard(self, run_id: str, shard: int) -> int | None:
        """As `_abandoned_attempt`, of a shard."""
        columns = (sweep_shards.c.attempt, cast(sweep_shards.c.lease_until, String).label("until"))
        ran_out = ran_out_by_clock(sweep_shards.c.lease_until)
        is_at_work = sweep_shards.c.status == Status.RUNNING
        query = select(*columns, ran_out).where(_is_shard(run_id, shard), is_at_work)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else self.abandoned((run_id, shard), row)

    def attempt_of(self, run_id: str, shard: int, worker: str) -> int | None:
        """The attempt with which this worker has the shard, None where it has not.

        It may have it although its claim was not answered: the connection broke in between.
        """
        is_held = and_(sweep_shards.c.status == Status.RUNNING, sweep_shards.c.claimed_by == worker)
        query = select(sweep_shards.c.attempt).where(_is_shard(run_id, shard), is_held)
        return self._read(lambda connection: connection.scalar(query))

    def renew_shard(self, run_id: str, shard: int, attempt: int) -> bool:
        """Keeps the lease, at once or not at all.

        False when the shard was taken away, or its sweep ended or was cancelled.
        """
        values = {"lease_until": utc_in(self.lease_seconds)}
        has_just_ended = and_(
            sweep_shards.c.status.in_(ENDED_STATUSES), sweep_shards.c.attempt == attempt
        )
        condition = or_(_is_shard_held_by(attempt), has_just_ended)
        return self._write_now(
            lambda connection: _update_shard(connection, run_id, shard, condition, values)
        )

    def release_shard(self, run_id: str, shard: int, attempt: int) -> bool:
        """Gives it back, uncounted, at once or not at all; also where its sweep begins again."""
        condition = and_(_is_shard(run_id, shard), _is_shard_held_by(attempt))
        statement = update(sweep_shards).where(condition).values(GIVEN_BACK_VALUES)
        return self._write_now(lambda connection: connection.execute(statement).rowcount == 1)

    def finish_shard(self, run_id: str, shard: int, attempt: int, numbers: bytes) -> bool:
        """Stores its numbers; False, and nothing stored, when it was taken away."""
        values = {"status": Status.COMPLETED, "lease_until": None, "numbers": numbers}
        return self._update_shard(run_id, shard, _is_shard_held_by(attempt), values)

    def fail_shard(self, run_id: str, shard: int, attempt: int, reason: str, message: str) -> bool:
        """Ends it without numbers: the result of the sweep will name its rows as failed."""
        values = _failure_values(reason, message)
        return self._update_shard(run_id, shard, _is_shard_held_by(attempt), values)

    def _update_shard(
        self, run_id: str, shard: int, condition: ColumnElement[bool], values: Mapping[str, Any]
    ) -> bool:
        return self._write(
            lambda connection: _update_shard(connection, run_id, shard, condition, values)
        )


def _update_shard(
    connection: Connection,
    run_id: str,
    shard: int,
    condition: ColumnElement[bool],
    values: Mapping[str, Any],
) -> bool:
    """Compare and set, as long as its sweep is at work."""
    is_at_work = and_(runs.c.run_id == run_id, runs.c.status == Status.RUNNING)
    sweep_is_at_work = select(runs.c.id).where(is_at_work).exists()
    which = and_(_is_shard(run_id, shard), condition, sweep_is_at_work)
    return connection.execute(update(sweep_shards).where(which).values(values)).rowcount == 1


def _is_shard(run_id: str, shard: int) -> ColumnElement[bool]:
    return and_(sweep_shards.c.run_id == run_id, sweep_shards.c.shard == shard)


def _is_shard_held_by(attempt: int) -> ColumnElement[bool]:
    """Whether this attempt still has the shard."""
    return and_(sweep_shards.c.status == Status.RUNNING, sweep_shards.c.attempt == attempt)


def _failure_values(reason: str, message: str) -> dict[str, Any]:
    return {
        "status": Status.FAILED,
        "reason": reason,
        "message": fitting_message(message),
        "lease_until": None,
    }
