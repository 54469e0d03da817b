#!/bin/sh
# Runs the controller and the web side by side; ending one, or Ctrl-C, ends both.
set -eu
if "$BIN/python" -c "import socket as s; raise SystemExit(s.socket().connect_ex(('127.0.0.1', $PORT)) != 0)"; then
    echo "Port $PORT is taken; choose another: make run PORT=$((PORT + 1))" >&2
    exit 1
fi
controller="" web=""
stop() {
    trap - EXIT INT TERM HUP
    kill $controller $web 2>/dev/null || true
    wait
}
trap stop EXIT
trap 'stop; exit 0' INT TERM HUP
# A person waits for the answer, and looking often costs nobody else anything here.
CONTROLLER_POLL_SECONDS="${CONTROLLER_POLL_SECONDS:-0.05}" "$BIN/python" -m service.controller &
controller=$!
# In a session of its own: the terminal's Ctrl-C and hang-up reach it once, through stop() above.
WEB_BIND="127.0.0.1:$PORT" WEB_GRACEFUL_SECONDS="${WEB_GRACEFUL_SECONDS:-5}" "$BIN/python" -c "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])" "$BIN/gunicorn" \
    --config python:service.web.server.gunicorn_conf app:app &
web=$!
until "$BIN/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$PORT/ready')" 2>/dev/null; do
    kill -0 "$web" 2>/dev/null && kill -0 "$controller" 2>/dev/null || exit 1
    sleep 0.2
done
printf '\n  The dashboard is at http://127.0.0.1:%s  (Ctrl-C stops it)\n\n' "$PORT"
while kill -0 "$controller" 2>/dev/null && kill -0 "$web" 2>/dev/null; do sleep 1; done
exit 1
