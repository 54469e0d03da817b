"""What starred runs made of newer prices, as pages say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.store.forward import Forward
from service.store.rows import Run
from service.web.middleware.texts import plural, text
from service.web.presentation import shown, unbroken

NOT_STARRED = "Star this run to see what it makes of prices that do not exist yet."
NOTHING_YET = "As soon as there are newer prices of {ticker}, this says what they brought."
SINCE = "Since you asked: {bars}, {first} to {last}."
MADE = "It made {own}, holding {holding}."
INSIDE = "In 95 of 100 cases as many bars bring {low} to {high}: that is as expected."
BELOW = "In 95 of 100 cases as many bars bring {low} to {high}: that is less than expected."
ABOVE = "In 95 of 100 cases as many bars bring {low} to {high}: that is more than expected."
OTHER_PAST = "The newer prices are other ones before that, too: it was run again on all of them."
OTHER_RULE = "The rule has changed since it was asked for: this is what it does today."
PROBLEM = "It could not be extended: {problem}"


@dataclass(frozen=True)
class Since:
    """What a page says of one run; `tone` is gain, loss or "", `remarks` what to know about it."""

    sentence: str
    tone: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class ForwardRow:
    """A starred run and its record, as the list shows it."""

    run: Run
    record: Mapping[str, Any]
    place: str

    @property
    def has_bars(self) -> bool:
        return bool(self.record.get("bars"))


def since_of(run: Run, is_starred: bool, forward: Forward | None) -> Since:
    """Of a completed run."""
    if not is_starred:
        return Since(text(NOT_STARRED))
    record = {} if forward is None else forward.record
    if "problem" in record:
        return Since(text(PROBLEM).format(problem=problem_text(record)))
    if not record.get("bars"):
        return Since(text(NOTHING_YET).format(ticker=run.ticker))
    sentences, tone = [_since_sentence(record), _made_sentence(record)], ""
    place = place_of(record)
    if place:
        sentences.append(_expected_sentence(record, place))
        tone = {"below": "loss", "above": "gain"}.get(place, "")
    return Since(unbroken(" ".join(sentences)), tone, list(_remarks(record)))


def problem_text(record: Mapping[str, Any]) -> str:
    """Why a run cannot go on, in the reader's language."""
    template, values = record["template"], record["values"]
    try:
        return text(template).format(**values)
    except (ValueError, KeyError, IndexError):
        return str(record["problem"])


def _since_sentence(record: Mapping[str, Any]) -> str:
    return text(SINCE).format(
        bars=bars_text(record), first=record["first_bar"], last=record["last_bar"]
    )


def _made_sentence(record: Mapping[str, Any]) -> str:
    return text(MADE).format(
        own=shown(record["return_pct"], "%"), holding=shown(record["holding_pct"], "%")
    )


def _expected_sentence(record: Mapping[str, Any], place: str) -> str:
    templates = {"inside": INSIDE, "below": BELOW, "above": ABOVE}
    template = templates[place]
    return text(template).format(
        low=shown(record["low_pct"], "%"), high=shown(record["high_pct"], "%")
    )


def _remarks(record: Mapping[str, Any]) -> Iterator[str]:
    if record["sharpe_ratio"] is not None:
        yield f"{text('Sharpe ratio')} {shown(record['sharpe_ratio'], 'ratio')}."
    if not record["is_same_past"]:
        yield text(OTHER_PAST)
    if not record["is_same_rule"]:
        yield text(OTHER_RULE)


def bars_text(record: Mapping[str, Any]) -> str:
    """How many new bars there are."""
    count = record["bars"]
    return plural("%(count)s new bar", "%(count)s new bars", count) % {"count": f"{count:,}"}


def place_of(record: Mapping[str, Any]) -> str:
    """Where the return lies: inside, below or above what was to be expected; "" where unknown."""
    if record.get("is_inside") is None or record["return_pct"] is None:
        return ""
    if record["is_inside"]:
        return "inside"
    return "below" if record["return_pct"] < record["low_pct"] else "above"


def forward_rows(found: Sequence[tuple[Run, Forward | None]]) -> list[ForwardRow]:
    """The rows of the list, those with new bars first."""
    records = [(run, {} if forward is None else forward.record) for run, forward in found]
    rows = [ForwardRow(run, record, place_of(record)) for run, record in records]
    return sorted(rows, key=lambda row: not row.has_bars)
