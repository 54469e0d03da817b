"""Identical work: requests that ask for the same bytes share one computation.

The unique column `leads` holds the fingerprint of the work whose run answers for all others; a
run that is answered by another one names it in `reused_from`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from service.contract.status import Status
from service.store.database import utc_in
from service.store.rows import LISTED_METRICS, update_run
from service.store.tables import runs


def _is_attached_to(leader_id: str) -> ColumnElement[bool]:
    return and_(runs.c.reused_from == leader_id, runs.c.status == Status.PENDING)


def leader_columns(connection: Connection, work: str | None) -> dict[str, Any]:
    """The columns that tie a new run to the one that leads its work, or make it the leader.

    The lock on the leader keeps it from ending before the new row is there to end with it.
    """
    if work is None:
        return {}
    columns = [runs.c[name] for name in ("run_id", "status", *LISTED_METRICS)]
    query = select(*columns).where(runs.c.leads == work).with_for_update()
    leader = connection.execute(query).one_or_none()
    if leader is None:
        return {"leads": work}
    if leader.status != Status.COMPLETED:
        return {"reused_from": leader.run_id}
    moments = {"started_at": utc_in(), "finished_at": utc_in()}
    return {"reused_from": leader.run_id, **_completed_like(leader), **moments}


def _completed_like(leader: Row[Any]) -> dict[str, Any]:
    """The columns of a run whose leader has completed."""
    metrics = {name: getattr(leader, name) for name in LISTED_METRICS}
    return {"status": Status.COMPLETED, **metrics}


def end_run(
    connection: Connection,
    run_id: str,
    condition: ColumnElement[bool],
    values: Mapping[str, Any],
) -> bool:
    """Ends the run and those attached to it; False, and nothing changed, without `condition`.

    Only a run that completed is answered from later on.
    """
    of_leader = dict(values)
    if values["status"] != Status.COMPLETED:
        of_leader["leads"] = None
    if not update_run(connection, run_id, condition, of_leader):
        return False
    of_attached = {**values, "evidence": None}
    statement = update(runs).where(_is_attached_to(run_id)).values(of_attached)
    connection.execute(statement)
    return True


def pass_work_on(connection: Connection, run_id: str, work: str) -> None:
    """Lets the oldest run attached to `run_id`, which left, lead the work from its own place.

    Each change looks again, for an attached run may be cancelled at the same moment.
    """
    is_attached = _is_attached_to(run_id)
    query = select(runs.c.run_id).where(is_attached).order_by(runs.c.id)
    heir_id = None
    for candidate_id in connection.scalars(query).all():
        if heir_id is None:
            values = {"reused_from": None, "leads": work}
        else:
            values = {"reused_from": heir_id}
        changed = update_run(connection, candidate_id, is_attached, values)
        if changed and heir_id is None:
            heir_id = candidate_id
