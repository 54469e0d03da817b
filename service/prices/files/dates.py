"""Dates as files write them: in any order, as seconds, with offsets, in Korean, with times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from service.contract.sentence import Sentence
from service.prices.series import MAX_QUOTED, UnreadablePrices

EPOCH_DATES = "Seconds since 1970 were read as dates (UTC)."
EPOCH_TIMES = "Seconds since 1970 were read as times (UTC)."
IN_UTC = "Times are those of UTC: an hour is there twice when the clock changes."
OF_THE_EVENING = (
    "Bars are stamped {time} of the evening before: they have the date of the next day."
)
PERHAPS_OF_THE_EVENING = "Bars are stamped {time}: their dates may be a day early."
DAY_FIRST = "Dates with points were read with the day first, then the month."
NOTES = (EPOCH_DATES, EPOCH_TIMES, IN_UTC, OF_THE_EVENING, PERHAPS_OF_THE_EVENING, DAY_FIRST)
OFFSET = r"\s?(?:Z|UTC|[+-]\d{2}(?::?\d{2})?)(?:\[[\w/+-]+\])?$"
WITH_OFFSET = re.compile(rf"(:\d{{2}}(?:\.\d+)?){OFFSET}")
ENDS_WITH_OFFSET = re.compile(rf":\d{{2}}(?:\.\d+)?{OFFSET}")
CLOCK = r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d+)?)?)?"
LOCAL = re.compile(rf"\d{{4}}-?\d{{2}}(?:-?\d{{2}}(?:[T ]?{CLOCK})?)?")
ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
EPOCHS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
EPOCH = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(?:\.0+)?")
HOURLY = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])")
COMPACT = re.compile(rf"\d{{8}}|{HOURLY.pattern}|\d{{12}}|\d{{14}}")
COMPACT_FORMATS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
YEAR_FIRST = re.compile(r"(\d{4})\s*[./년-]\s*(\d{1,2})\s*[./월-]\s*(\d{1,2})(?:\s*[.일])?")
YEAR_LAST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
WITH_WORDS = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %d %Y")
MONTHS = 12
AFTERNOON = 12  # a daily bar that is stamped later may be that of the next day
LAST_MINUTE = 59
FRIDAY, SATURDAY, SUNDAY = 4, 5, 6
MAX_DIGITS_OF_MINUTES = 4  # without seconds
ONE_DIGIT_OF_HOUR = re.compile(r"[ T](\d)(?=:)")
DOTTED = re.compile(r"\d{1,2}\.")
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Stamps:
    """The moment of each bar, NaT where none stands, and what is to be said about them."""

    index: pd.DatetimeIndex
    notes: tuple[Sentence, ...] = ()


def stamps_of(texts: pd.Series, times: pd.Series | None, lines: Sequence[int]) -> Stamps:
    """Without a zone: the exchange's own clock is meant. Raises UnreadablePrices with the line."""
    plain = texts.astype("string").str.strip()
    plain = plain.mask(plain == "")
    if times is not None:
        plain = plain.str.cat(_times(times), sep=" ")
    there = plain.dropna()
    days = pd.to_datetime(there, format="%Y-%m-%d", errors="coerce")
    if days.notna().all():
        # Almost every file.
        stamps = days.reindex(plain.index)
        _check(stamps, plain, lines)
        return Stamps(_index(stamps))
    if len(there) and there.str.fullmatch(EPOCH).all() and not there.str.fullmatch(HOURLY).all():
        return _of_epochs(plain)
    stamps = _parsed(plain, there)
    _check(stamps, plain, lines)
    read = _read_with_offsets(stamps, plain)
    notes = read.notes
    if len(there) and there.str.match(DOTTED).all() and not _is_day_first_for_sure(there):
        notes = (*notes, Sentence(DAY_FIRST))
    return Stamps(read.index, notes)


def _times(times: pd.Series) -> pd.Series:
    """With two digits for each part, where they have no colons: 901 is 09:01."""
    plain = times.astype("string").str.strip()
    if not plain.dropna().str.fullmatch(r"\d+").all():
        return plain
    digits = 4 if plain.str.len().max() <= MAX_DIGITS_OF_MINUTES else 6
    return plain.str.zfill(digits)


def _of_epochs(plain: pd.Series) -> Stamps:
    digits = plain.str.extract(EPOCH, expand=False)
    units = digits.str.len().map(EPOCHS)
    stamps = pd.Series(pd.NaT, index=plain.index, dtype="datetime64[ns]")
    for unit in units.dropna().unique():
        of_unit = units == unit
        numbers = digits[of_unit].astype("int64")
        stamps[of_unit] = pd.to_datetime(numbers, unit=unit, errors="coerce").astype(stamps.dtype)
    index = _index(stamps)
    if not index.normalize().is_unique:
        return Stamps(index, (Sentence(EPOCH_TIMES),))
    read = _of_the_next_day(index)
    return Stamps(read.index.normalize(), (Sentence(EPOCH_DATES), *read.notes))


def _parsed(plain: pd.Series, there: pd.Series) -> pd.Series:
    """Naive local times, NaT where the text is no date that is known."""
    if len(there) and there.str.fullmatch(COMPACT).all():
        return _compact(plain)
    if len(there) and there.str.match(YEAR_LAST).all():
        return _with_year_last(plain, there)
    if len(there) and there.str.contains("[A-Za-z]{3}").all():
        worded = _with_words(plain)
        if worded is not None:
            return worded
    iso = plain.str.replace(WITH_OFFSET, r"\1", regex=True)
    iso = iso.str.replace(ONE_DIGIT_OF_HOUR, r" 0\1", regex=True)
    if not there.str.match(ISO_DAY).all():
        iso = iso.str.replace(YEAR_FIRST, _iso_day, regex=True)
    # What still has a zone is no local time, and pandas refuses a mixture as a whole.
    return pd.to_datetime(iso.where(iso.str.fullmatch(LOCAL)), format="ISO8601", errors="coerce")


def _iso_day(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    return f"{year}-{month:0>2}-{day:0>2}"


def _compact(plain: pd.Series) -> pd.Series:
    stamps = pd.Series(pd.NaT, index=plain.index, dtype="datetime64[ns]")
    for length, form in COMPACT_FORMATS.items():
        of_length = (plain.str.len() == length).fillna(False).to_numpy(dtype=bool)
        found = pd.to_datetime(plain[of_length], format=form, errors="coerce")
        stamps[of_length] = found.astype(stamps.dtype)
    return stamps


def _with_year_last(plain: pd.Series, there: pd.Series) -> pd.Series:
    """Day or month first, as all dates of the file together tell."""
    parts = there.str.extract(YEAR_LAST)
    first, second = parts[0].astype(int), parts[2].astype(int)
    orders = {"day": r"\4-\3-\1", "month": r"\4-\1-\3"}
    if first.max() > MONTHS or (parts[1] == ".").all():
        order = "day"
    elif second.max() > MONTHS:
        order = "month"
    else:
        order = _order_that_goes_on(there, orders)
    return _turned(plain, orders[order])


def _is_day_first_for_sure(there: pd.Series) -> bool:
    return bool(there.str.extract(YEAR_LAST)[0].astype(float).max() > MONTHS)


def _order_that_goes_on(there: pd.Series, orders: dict[str, str]) -> str:
    """The only order in which the dates follow each other; raises UnreadablePrices."""
    going_on = []
    for name, order in orders.items():
        index = pd.DatetimeIndex(_turned(there, order))
        if len(index) > 1 and (index.is_monotonic_increasing or index.is_monotonic_decreasing):
            going_on.append(name)
    if len(going_on) != 1:
        raise UnreadablePrices(
            "{cell} is no date such as 2020-01-31: is the day first or the month?",
            cell=repr(there.iloc[0][:MAX_QUOTED]),
        )
    return going_on[0]


def _turned(texts: pd.Series, order: str) -> pd.Series:
    def turn(match: re.Match[str]) -> str:
        year, month, day = match.expand(order).split("-")
        return f"{year}-{month:0>2}-{day:0>2}"

    turned = texts.str.replace(YEAR_LAST, turn, regex=True)
    return pd.to_datetime(turned, format="ISO8601", errors="coerce")


def _with_words(plain: pd.Series) -> pd.Series | None:
    """Such as Jan 31, 2020."""
    for form in WITH_WORDS:
        stamps = pd.to_datetime(plain, format=form, errors="coerce")
        if stamps.notna().sum() == plain.notna().sum():
            return stamps
    return None


def _check(stamps: pd.Series, plain: pd.Series, lines: Sequence[int]) -> None:
    is_unreadable = stamps.isna() & plain.notna()
    is_beyond_nanoseconds = (stamps < pd.Timestamp.min) | (stamps > pd.Timestamp.max)
    is_wrong = (is_unreadable | is_beyond_nanoseconds).to_numpy(dtype=bool)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        cell = str(plain.iloc[row])[:MAX_QUOTED]
        raise UnreadablePrices(
            "Line {line}: {cell} is no date such as 2020-01-31.",
            line=lines[row],
            cell=repr(cell),
        )


def _read_with_offsets(stamps: pd.Series, plain: pd.Series) -> Stamps:
    """Bars of the hour that a clock change repeats, and those of the evening before."""
    index = _index(stamps)
    has_offset = plain.str.contains(ENDS_WITH_OFFSET).fillna(False).to_numpy(dtype=bool)
    if not has_offset.any():
        return Stamps(index)
    if has_offset.all() and not index.is_unique:
        return _in_utc(index, plain)
    return _of_the_next_day(index)


def _in_utc(index: pd.DatetimeIndex, plain: pd.Series) -> Stamps:
    bare = plain.str.replace(r"\[.*\]$", "", regex=True).str.replace("UTC$", "Z", regex=True)
    instants = pd.to_datetime(bare, format="ISO8601", utc=True, errors="coerce")
    in_utc = _index(instants.dt.tz_localize(None))
    if not in_utc.is_unique:
        return Stamps(index)
    return Stamps(in_utc, (Sentence(IN_UTC),))


def _of_the_next_day(index: pd.DatetimeIndex) -> Stamps:
    """Midnight of an exchange further east is the evening, or afternoon, before.

    The weekdays tell: such bars are there on Sundays and not on Fridays. Bars that are stamped with
    the last minute of their day, or that are there on Saturdays, have the right date.
    """
    is_daily = len(index) > 0 and index.notna().all() and index.normalize().is_unique
    if not is_daily or int(index[0].hour) < AFTERNOON or int(index[0].minute) == LAST_MINUTE:
        return Stamps(index)
    weekdays = set(index.day_of_week)
    time = {"time": f"{index[0]:%H:%M}"}
    if SUNDAY in weekdays and not weekdays & {FRIDAY, SATURDAY}:
        return Stamps(index.normalize() + DAY, (Sentence(OF_THE_EVENING, time),))
    is_perhaps_midnight = int(index[0].minute) == 0
    if weekdays & {FRIDAY, SATURDAY} or not is_perhaps_midnight:
        return Stamps(index)
    return Stamps(index, (Sentence(PERHAPS_OF_THE_EVENING, time),))


def _index(stamps: pd.Series) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(stamps, name="Date").as_unit("ns")
