"""How gunicorn serves the application: configuration, log lines, and fairness in its event loop."""
