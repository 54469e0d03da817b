"""What one client may have of what all share, such as places in the queue.

One alone may have all of it. Once it is used up, a client with less than its share, which is the
limit divided by the clients that have something, still gets more: so a thousand runs of one client
never keep the first of another one out. There is an end to that, too: twice the limit.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_OF_LIMIT = 2


def may_have(held: Mapping[str, int], client: str, more: int, limit: int) -> bool:
    """Whether a client may have `more`, where `held` says how much each client has by now."""
    total = sum(held.values()) + more
    if total <= limit:
        return True
    own = held.get(client, 0)
    clients = len({client, *(name for name, count in held.items() if count)})
    is_within_share = own + more <= max(1, limit // clients)
    return is_within_share and total <= MOST_OF_LIMIT * limit
