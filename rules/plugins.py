"""Rules from other packages: classes under the entry-point group `stock_backtest.rules`, checked before use."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import extracted
import rules
from rules.base_rule import BaseRule, CompositeRule, InvalidRule
from rules.registry import BUILT_IN, Rules, rule_from_id
from rules.rule_validator import RuleValidator

GROUP = "stock_backtest.rules"
# Digests of releases whose built-in rules give the signals of today's: 0.2.0.
SAME_SIGNALS = frozenset({"9e714d3c052e1db32806c66d6ac9437726e0e47edb89f93b422e160e2dfd2f92"})

PREFIXES = 60  # of each made-up series, where a request waits for the answer

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z][A-Z0-9]*)*", re.ASCII)


@cache
def installed_rules(validate: bool) -> Rules:
    """Our rules and those of plug-ins; with `validate` only what RuleValidator accepts, the rest named in the log.

    The web and the controller validate; a worker only performs what they accepted.
    """
    found = dict(BUILT_IN)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        problem, rule = _load(entry, found, validate)
        if rule is None:
            level = logging.ERROR if validate else logging.DEBUG  # a worker need not repeat what the web said
            logger.log(level, "Rule %s = %s is left out: %s", entry.name, entry.value, problem)
        else:
            found[rule.metadata.name] = rule
    return found


def _load(entry: EntryPoint, taken: Rules, validate: bool) -> tuple[str, type[BaseRule] | None]:
    try:
        rule = entry.load()
    except Exception as error:  # noqa: BLE001  somebody else's module may fail in any way
        return f"it cannot be imported: {type(error).__name__}: {error}", None
    if not (isinstance(rule, type) and issubclass(rule, BaseRule)):
        return "it is no subclass of rules.base_rule.BaseRule", None
    name = getattr(getattr(rule, "metadata", None), "name", "")
    if not _NAME.fullmatch(name):
        return f"its metadata.name {name!r} is not of the form UPPER_CASE", None
    if name in taken or name in CompositeRule.MODES:
        return f"the name {name} is taken", None
    problems = _problems(rule) if validate else []
    return "; ".join(problems), None if problems else rule


def _problems(rule: type[BaseRule]) -> list[str]:
    try:
        return RuleValidator().problems(rule())
    except Exception as error:  # noqa: BLE001  its defaults may be out of their own ranges
        return [f"it cannot be made with its defaults: {type(error).__name__}: {error}"]


def find_rule(rule_id: str, params: Mapping[str, Any], *, validate: bool) -> BaseRule:
    """As `rule_from_id`, plug-ins looked up only when it is none of ours; raises InvalidRule.

    With `validate` a rule that is not ours is checked with the very parameters that are asked for.
    """
    try:
        return rule_from_id(rule_id, params)
    except InvalidRule:
        every = installed_rules(validate)
        if len(every) == len(BUILT_IN):
            raise
    rule = rule_from_id(rule_id, params, every)
    if validate:
        refuse_faulty(rule)
    return rule


def refuse_faulty(rule: BaseRule) -> None:
    """Raises InvalidRule where RuleValidator finds a fault in a rule, or a member, that is not ours."""
    for member in rule.members if isinstance(rule, CompositeRule) else (rule,):
        if BUILT_IN.get(member.metadata.name) is not type(member):
            problems = _problems_with(type(member), tuple(member.params.items()))
            if problems:
                raise InvalidRule("{rule} cannot be used: {why}.", rule=member.rule_id, why="; ".join(problems))


@lru_cache(maxsize=1000)
def _problems_with(rule: type[BaseRule], params: tuple[tuple[str, Any], ...]) -> tuple[str, ...]:
    return tuple(RuleValidator(most=PREFIXES).problems(rule(**dict(params))))


def digest_of(rule_id: str) -> str:
    """`rules_digest` of the rule that is installed here under this name, "" without one."""
    try:
        return rules_digest(find_rule(rule_id, {}, validate=False))
    except InvalidRule:
        return ""


def same_digest(earlier: str, today: str) -> str:
    """The earlier digest where its rules give the signals of today's, else today's."""
    return earlier if earlier in SAME_SIGNALS else today


def rules_digest(rule: BaseRule) -> str:
    """SHA-256 of the sources that decide the rule's signals: ours, and the package of each rule that is not ours."""
    members = rule.members if isinstance(rule, CompositeRule) else (rule,)
    packages = {type(member).__module__.partition(".")[0] for member in members}
    return _sources_digest(tuple(sorted(packages - {rules.__name__})))


@cache
def _sources_digest(packages: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in (rules.__name__, extracted.__name__, *packages):
        for path, text in _sources(name):
            digest.update(f"{path}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def _sources(package: str) -> Iterable[tuple[str, bytes]]:
    """(path from the package's parent, bytes) of every Python file of an imported package or module."""
    module = sys.modules[package]
    folders = [Path(folder) for folder in getattr(module, "__path__", [])]
    if not folders:
        file = Path(str(module.__file__))
        return [(file.name, file.read_bytes())]
    return [
        (path.relative_to(folder.parent).as_posix(), path.read_bytes())
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
    ]
