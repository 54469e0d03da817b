"""HTTP: pages, the JSON API, login, metrics."""
