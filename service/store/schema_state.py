"""What is wrong with a database's schema, in a sentence that names the revisions."""

from __future__ import annotations

from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from service.store.migrate import _is_newer, _revision, _settings, schema_is_current

BEHIND = "the database schema is at revision {have}, this program needs {need}: python -m service.store.migrate"
NEWER = "the database schema is at revision {have}, which is newer than {need} and does not work with this program"


def schema_problem(engine: Engine) -> str:
    """Empty when this program can work with the schema."""
    if schema_is_current(engine):
        return ""
    with engine.connect() as connection:
        have = _revision(connection)
    template = NEWER if _is_newer(have) else BEHIND
    need = ScriptDirectory.from_config(_settings()).get_current_head()
    return template.format(have=have or "none", need=need)
