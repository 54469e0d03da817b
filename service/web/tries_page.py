"""All tries on the prices of a result, as pages say it: a sentence, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.search.verdict import USUAL_CONFIDENCE, percent
from service.usecases.tries import TriesOfResult
from service.web.middleware.texts import text
from service.web.presentation import shown, unbroken

FIRST = "Nothing else was tried on these prices."
FIRST_SKILL = "With {probability} probability its timing is more than luck."
FIRST_LUCK = (
    "With {probability} probability its timing is more than luck: less than the usual 95 %, so "
    "treat it as luck until new data say otherwise."
)
ONE_OF_MANY = "Try {number} of {tries} on these prices."
ABOUT_MANY = "About {tries} tries were made on these prices."
SKILL = "With {probability} probability its timing is more than luck after all of them."
LUCK = (
    "With {probability} probability its timing is more than luck after all of them: less than the "
    "usual 95 %, so treat it as luck until new data say otherwise."
)


@dataclass(frozen=True)
class Fact:
    """One number that the sentence rests on, and what it means."""

    label: str
    value: str
    meaning: str


@dataclass(frozen=True)
class TriesPage:
    """What a page shows of all tries; `tone` is that of the sentence: gain, loss or ""."""

    sentence: str
    tone: str
    facts: Sequence[Fact]


def tries_page_of(tries: TriesOfResult | None) -> TriesPage | None:
    """None where the ledger has nothing of the result."""
    if tries is None:
        return None
    timing = tries.skill.timing
    sentences = [_count_sentence(tries)]
    tone = ""
    if not math.isnan(timing):
        is_skill = timing >= USUAL_CONFIDENCE
        tone = "gain" if is_skill else "loss"
        sentences.append(_timing_sentence(tries, is_skill))
    # Of one try alone there is nothing more to say.
    facts = list(facts_of(tries)) if tries.skill.tries > 1 else []
    return TriesPage(unbroken(" ".join(sentences)), tone, facts)


def _timing_sentence(tries: TriesOfResult, is_skill: bool) -> str:
    if tries.skill.tries > 1:
        template = SKILL if is_skill else LUCK
    else:
        template = FIRST_SKILL if is_skill else FIRST_LUCK
    return text(template).format(probability=percent(tries.skill.timing))


def _count_sentence(tries: TriesOfResult) -> str:
    if tries.skill.tries <= 1:
        return text(FIRST)
    if not tries.skill.is_exact:
        return text(ABOUT_MANY).format(tries=two_digits(tries.skill.tries))
    return text(ONE_OF_MANY).format(number=f"{tries.number:,}", tries=f"{tries.skill.tries:,}")


def count_of(tries: TriesOfResult) -> str:
    """How many tries there are, in words."""
    return counted(tries.skill.tries, tries.skill.is_exact)


def counted(count: int, is_exact: bool) -> str:
    """The number, or that it is about so much."""
    return f"{count:,}" if is_exact else text("about {count}").format(count=two_digits(count))


def two_digits(count: int) -> str:
    """As much of an estimate as is known."""
    return f"{int(float(f'{count:.2g}')):,}"


def facts_of(tries: TriesOfResult) -> Iterator[Fact]:
    """The numbers that the sentence rests on."""
    skill = tries.skill
    yield Fact(
        text("Tries on these prices"),
        count_of(tries),
        text(
            "Rules with other numbers or costs that ever traded here in dates that overlap, by "
            "single runs, searches and programs. Deleted runs count, repeated ones do not."
        ),
    )
    yield Fact(
        text("Independent tries"),
        two_digits(round(skill.effective)),
        text(
            "So many with nothing in common would bring as much luck. Kinds: %(kinds)s. Tries "
            "whose timing is alike, with a correlation of 0.8 or more, are of one kind."
        )
        % {"kinds": counted(skill.groups, skill.is_exact)},
    )
    yield Fact(
        text("Sharpe ratio of luck"),
        shown(skill.luck, "ratio"),
        text("What the best of them is expected to show without any skill; its own is %(own)s.")
        % {"own": shown(skill.sharpe, "ratio")},
    )
    yield Fact(
        text("Deflated Sharpe ratio"),
        percent(skill.deflated),
        text(
            "Probability that its Sharpe ratio is above that of luck; %(alone)s if nothing else "
            "had been tried. A rising price alone makes both high."
        )
        % {"alone": percent(skill.probabilistic)},
    )
    yield Fact(
        text("Years needed"),
        f"{skill.needed_years:.1f}",
        text(
            "In fewer years the best of so many independent tries is expected to show a Sharpe "
            "ratio of 1 by luck; these are %(years)s."
        )
        % {"years": f"{skill.years:.1f}"},
    )
    yield Fact(
        text("Sharpe ratio after a haircut"),
        shown(skill.left.holm, "ratio"),
        text(
            "What is left of it once every try is counted as a test, by Holm; by Benjamini, "
            "Hochberg and Yekutieli %(bhy)s."
        )
        % {"bhy": shown(skill.left.bhy, "ratio")},
    )
