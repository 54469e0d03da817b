"""What users say about runs: stars, tags and notes, shared by all who use the platform."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.store.database import Store
from service.store.rows import marked_text
from service.store.tables import run_notes, run_stars, run_tags, runs

MAX_LISTED_TAGS = 200
MAX_TRIES = 5


@dataclass(frozen=True)
class Marks:
    """Of one run; `version` is that of its note, 0 where there never was one."""

    is_starred: bool = False
    tags: Sequence[str] = ()
    note: str = ""
    version: int = 0


class MarkStore(Store):
    """Stars, tags and notes; runs are named by their `id`."""

    def marks_of(self, ids: Collection[int]) -> dict[int, Marks]:
        """The marks of each of these runs."""

        def read(connection: Connection) -> dict[int, Marks]:
            stars = select(run_stars.c.runs_id).where(run_stars.c.runs_id.in_(ids))
            starred = set(connection.scalars(stars))
            tags: dict[int, list[str]] = {each: [] for each in ids}
            tag_query = select(run_tags).where(run_tags.c.runs_id.in_(ids)).order_by(run_tags.c.tag)
            for row in connection.execute(tag_query):
                tags[row.runs_id].append(marked_text(row.tag))
            notes = select(run_notes).where(run_notes.c.runs_id.in_(ids))
            noted = {row.runs_id: row for row in connection.execute(notes)}
            return {
                each: Marks(
                    each in starred,
                    tags[each],
                    marked_text(noted[each].note) if each in noted else "",
                    noted[each].version if each in noted else 0,
                )
                for each in ids
            }

        return self._read(read)

    def star(self, ids: Collection[int], is_starred: bool) -> None:
        """Sets or takes the star of these runs."""

        def write(connection: Connection) -> None:
            if not is_starred:
                connection.execute(delete(run_stars).where(run_stars.c.runs_id.in_(ids)))
                return
            present = select(run_stars.c.runs_id).where(run_stars.c.runs_id.in_(ids))
            missing = _existing(connection, ids) - set(connection.scalars(present))
            if missing:
                connection.execute(insert(run_stars), [{"runs_id": each} for each in missing])

        self._write_again(write)

    def tag(self, ids: Collection[int], added: Collection[str], removed: Collection[str]) -> None:
        """Adds tags to these runs and removes others."""

        def write(connection: Connection) -> None:
            is_one = run_tags.c.runs_id.in_(ids)
            is_removed = run_tags.c.tag.in_(set(removed) - set(added))
            connection.execute(delete(run_tags).where(is_one, is_removed))
            present = select(run_tags.c.runs_id, run_tags.c.tag).where(is_one)
            known = {(row.runs_id, row.tag) for row in connection.execute(present)}
            wanted = {(run, tag) for run in _existing(connection, ids) for tag in added}
            rows = [{"runs_id": run, "tag": tag} for run, tag in sorted(wanted - known)]
            if rows:
                connection.execute(insert(run_tags), rows)

        self._write_again(write)

    def _write_again(self, change: Callable[[Connection], None]) -> None:
        """As `_write`, again where somebody else wrote the same at the same moment."""
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                self._write(change)
                return
            except IntegrityError:
                if not tries_left:
                    raise

    def write_note(self, run: int, note: str, version: int) -> bool:
        """Writes the note of a run; False where its version is another one than is known."""

        def write(connection: Connection) -> bool:
            is_run = run_notes.c.runs_id == run
            if version:
                change = update(run_notes).where(is_run, run_notes.c.version == version)
                values = {"note": note, "version": version + 1}
                return connection.execute(change.values(values)).rowcount == 1
            if connection.scalar(select(run_notes.c.version).where(is_run)) is not None:
                return False
            connection.execute(insert(run_notes).values(runs_id=run, note=note, version=1))
            return True

        try:
            return self._write(write)
        except IntegrityError:
            # Another first note was written a moment ago.
            return False

    def tags_in_use(self) -> Mapping[str, int]:
        """How many runs have each tag; the most used first, at most MAX_LISTED_TAGS."""
        total = func.count().label("total")
        query = select(run_tags.c.tag, total).group_by(run_tags.c.tag)
        query = query.order_by(total.desc(), run_tags.c.tag).limit(MAX_LISTED_TAGS)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {marked_text(row.tag): row.total for row in rows}


def _existing(connection: Connection, ids: Collection[int]) -> set[int]:
    """Those of the runs that are still there."""
    return set(connection.scalars(select(runs.c.id).where(runs.c.id.in_(ids))))
