"""The rules that a request may name."""

from __future__ import annotations

from rules.plugins import installed_rules
from rules.registry import Rules


def accepted_rules() -> Rules:
    """Our rules, and those of plug-ins that the validator accepts, by name."""
    validate = True
    # By position, like the call in rules.plugins: the cache of `installed_rules` tells a call by
    # keyword apart, and every plug-in would be validated, and named in the log, a second time.
    return installed_rules(validate)
