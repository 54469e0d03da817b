"""The use cases of lists: mark, cancel and delete many runs at once, and write notes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from service.contract.errors import InvalidRequest, NoteChanged, RunEnded, RunNotFound
from service.contract.status import Status
from service.store.marks import Marks
from service.store.rows import Run
from service.usecases.runs import Runs

MAX_RUNS_AT_ONCE = 500
MAX_TAG_CHARACTERS = 40
MAX_TAGS = 20
MAX_NOTE_CHARACTERS = 4000
# Of any script, and nothing that could be mistaken for a part of a search.
TAG = re.compile(rf"[^\s,\"<>=!~]{{1,{MAX_TAG_CHARACTERS}}}")
TAG_RULE = 'a word of 1 to 40 characters, none of them , " < > = ! ~'


@dataclass(frozen=True)
class Marking:
    """What the web may do with many runs at once, and say about them."""

    runs: Runs

    def chosen(self, run_ids: Collection[str]) -> list[Run]:
        """The rows of these runs, each once; raises RunNotFound, or InvalidRequest for too many."""
        if not 0 < len(run_ids) <= MAX_RUNS_AT_ONCE:
            template = "Choose 1 to {most} runs; got {count}."
            raise InvalidRequest(template, most=MAX_RUNS_AT_ONCE, count=len(run_ids))
        rows = self.runs.run_store.by_ids(set(run_ids))
        for run_id in run_ids:
            if run_id not in rows:
                raise RunNotFound(run_id)
        return [rows[run_id] for run_id in dict.fromkeys(run_ids)]

    def star(self, chosen: Sequence[Run], is_starred: bool) -> int:
        """Sets or takes the stars of the runs; answers how many runs that are."""
        self.runs.run_store.star(_ids(chosen), is_starred)
        return len(chosen)

    def tag(
        self, chosen: Sequence[Run], added: Collection[str] = (), removed: Collection[str] = ()
    ) -> int:
        """Adds and removes tags, answers for how many runs; raises InvalidRequest."""
        self.check_tags(chosen, added, removed)
        self.runs.run_store.tag(_ids(chosen), added, removed)
        return len(chosen)

    def check_tags(
        self, chosen: Sequence[Run], added: Collection[str], removed: Collection[str]
    ) -> None:
        """Raises InvalidRequest for a tag that is none, or where a run would have too many."""
        for tag in added:
            if TAG.fullmatch(tag) is None or not tag.isprintable():
                template = "{field} must be {what}; got {value}."
                raise InvalidRequest(template, field="tag", what=TAG_RULE, value=tag[:50])
        for marks in self.runs.run_store.marks_of(_ids(chosen)).values():
            count = len({*marks.tags, *added} - set(removed))
            if count > MAX_TAGS:
                template = "A run has at most {most} tags; this would be {count}."
                raise InvalidRequest(template, most=MAX_TAGS, count=count)

    def cancel(self, chosen: Sequence[Run]) -> int:
        """Cancels those of the runs that have not ended; answers how many."""
        cancelled = 0
        for run in chosen:
            if run.status.final or run.status == Status.CANCELLING:
                continue
            try:
                self.runs.cancel(run.run_id)
                cancelled += 1
            except RunEnded:
                # It ended a moment ago.
                continue
        return cancelled

    def delete(self, chosen: Sequence[Run]) -> int:
        """Deletes those of the runs that have ended, results and all; answers how many."""
        return self.runs.run_store.delete([run.run_id for run in chosen])

    def marks(self, run: Run) -> Marks:
        """Star, tags and note of a run."""
        return self.runs.run_store.marks_of([run.id])[run.id]

    def write_note(self, run: Run, note: str, version: int) -> None:
        """Replaces the note whose version the writer saw; raises NoteChanged, InvalidRequest."""
        if len(note) > MAX_NOTE_CHARACTERS:
            template = "A note has at most {most} characters, got {count}."
            raise InvalidRequest(template, most=MAX_NOTE_CHARACTERS, count=len(note))
        if self.marks(run).note == note:
            return
        if not self.runs.run_store.write_note(run.id, note, version):
            self.runs.run(run.run_id)  # raises RunNotFound where it was deleted meanwhile
            raise NoteChanged


def _ids(chosen: Sequence[Run]) -> list[int]:
    return [run.id for run in chosen]


def tags_in(text: str) -> list[str]:
    """The tags that a user wrote, separated by spaces or commas."""
    return re.findall(r"[^\s,]+", text)
