"""The floor for GET /status: a Flask application with one route that does one indexed SELECT through SQLAlchemy."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from sqlalchemy import select

from scripts.config import load_config
from service.store.database import connect
from service.store.tables import runs

app = Flask(__name__)
engine = connect(load_config())


@app.get("/status/<run_id>")
def status(run_id: str) -> Response:
    """The row as it is."""
    with engine.connect() as connection:
        row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one()
    return jsonify({name: str(value) for name, value in row._mapping.items()})
