"""Deleting runs for good, without taking their result from others that were answered with it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, and_, delete, func, select, update

from service.contract.status import Status
from service.store.rows import FINAL
from service.store.tables import figures, results, runs


def delete_runs(connection: Connection, run_ids: Collection[str]) -> int:
    """Deletes those of the runs that have ended, with all they left; answers how many.

    Locks their rows before it looks: from then on no new run is answered from them.
    """
    query = select(runs.c.run_id, runs.c.leads).where(
        runs.c.run_id.in_(run_ids), runs.c.status.in_(FINAL)
    )
    rows = connection.execute(query.with_for_update()).all()
    deleted_ids = {row.run_id for row in rows}
    for row in rows:
        _pass_result_on(connection, row.run_id, row.leads, deleted_ids)
    return connection.execute(delete(runs).where(runs.c.run_id.in_(deleted_ids))).rowcount


def _pass_result_on(
    connection: Connection, run_id: str, work: str | None, deleted_ids: Collection[str]
) -> None:
    """Gives the result of a run to the oldest of those that were answered with it and stay."""
    # One that was cancelled while it was attached shows no result.
    is_answered = and_(runs.c.reused_from == run_id, runs.c.status == Status.COMPLETED)
    query = select(runs.c.run_id).where(is_answered, runs.c.run_id.not_in(deleted_ids))
    # Locked: nobody else deletes the heir meanwhile.
    heir_id = connection.scalar(query.order_by(runs.c.id).limit(1).with_for_update())
    if heir_id is None:
        return
    for table in (results, figures):
        is_its = table.c.run_id == run_id
        connection.execute(update(table).where(is_its).values(run_id=heir_id))
    text = func.replace(results.c.result, run_id, heir_id)
    connection.execute(update(results).where(results.c.run_id == heir_id).values(result=text))
    is_left = runs.c.run_id == run_id
    connection.execute(update(runs).where(is_left).values(leads=None))
    connection.execute(update(runs).where(is_answered).values(reused_from=heir_id))
    is_heir = runs.c.run_id == heir_id
    connection.execute(
        update(runs).where(is_heir).values(reused_from=None, leads=work, stored_bytes=None)
    )
