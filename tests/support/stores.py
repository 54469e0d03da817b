"""All that any process may ask of the database, for tests that play several of them."""

from __future__ import annotations

from service.store.queue import QueueStore
from service.store.requests import RequestStore
from service.store.shards import ShardStore
from service.store.upkeep import UpkeepStore


class EveryStore(RequestStore, QueueStore, ShardStore, UpkeepStore):
    """What web, controller and workers ask of the runs of one database."""
