"""Which code performs a run, and with which rules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from rules.base_rule import BaseRule
from rules.plugins import rules_digest
from service.contract.errors import InvalidRequest, RulesMismatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Software:
    """The code that performs a run: provenance that may differ between runs of the same bytes."""

    code_revision: str = ""
    image: str = ""

    def provenance(self) -> dict[str, str]:
        """Its fields in the provenance of a result."""
        return {"code_revision": self.code_revision, "image": self.image}


UNKNOWN_SOFTWARE = Software()


def agreed_digest(
    find_rule: Callable[[], BaseRule], accepted_digest: str, expected_digest: str | None
) -> str:
    """The digest of the rules to compute with.

    These are the rules that the run was accepted with or, if it waited for an upgrade, those of
    today. `expected_digest` names the rules of the controller that launched this worker; it is
    None where controller and worker are of different releases, in the middle of an upgrade.
    Raises RulesMismatch where nobody else has the worker's rules, or the worker lacks the rule.
    """
    try:
        own_digest = rules_digest(find_rule())
    except InvalidRequest:
        raise RulesMismatch from None
    if expected_digest is not None and own_digest not in (accepted_digest, expected_digest):
        raise RulesMismatch
    if own_digest != accepted_digest:
        message = "The rules have changed since the run was accepted; today's rules perform it"
        logger.warning(message)
    return own_digest
