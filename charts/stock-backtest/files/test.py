"""`helm test`: one backtest through the Service, its numbers compared with those of the release.

Where users log in it needs a token; without one it sees that it is kept out.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

URL = sys.argv[1]
# Where the release's operator finds out more
WHERE_TO_LOOK = sys.argv[2]
# How users log in, auth.mode of the chart
MODE = sys.argv[3]
TOKEN = Path("/run/secrets/login/token")
REQUEST = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
EXPECTED = {"total_return_pct": 162.94554248685, "num_trades": 34}


def ask(path, body=None):
    headers = {"Content-Type": "application/json"}
    if TOKEN.exists():
        headers["Authorization"] = f"Bearer {TOKEN.read_text().strip()}"
    request = urllib.request.Request(URL + path, body and json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def fail(reason):
    sys.exit(f"FAILED: {reason}\nWhere to look: {WHERE_TO_LOOK}")


def check_that_a_login_is_needed():
    ready = ask("/ready")
    try:
        ask("/tickers")
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
    else:
        fail(f"auth.mode is {MODE}, and a request without a login was answered")
    print(
        f"ready: {ready}; without a login nobody gets in. "
        "Skipped: a backtest needs auth.secretKeys.testToken"
    )
    sys.exit(0)


try:
    if MODE != "none" and not TOKEN.exists():
        check_that_a_login_is_needed()
    if "GOOG" not in [ticker["ticker"] for ticker in ask("/tickers")["tickers"]]:
        print(f"ready: {ask('/ready')}; without the sample prices no backtest can be compared")
        sys.exit(0)
    run_id = ask("/backtest?force=true", REQUEST)["run_id"]
    for _ in range(120):
        status = ask(f"/status/{run_id}")
        if status["status"] in ("completed", "failed", "cancelled"):
            break
        time.sleep(1)
    result = ask(f"/result/{run_id}")
except OSError as error:
    fail(error)
if status["status"] != "completed":
    fail(
        f"run {run_id} is {status['status']}: {status['reason']}: "
        f"{result.get('error_message')} {status['hint'] or ''}"
    )
for name, value in EXPECTED.items():
    if abs(result[name] - value) > 1e-9 * abs(value):
        fail(f"run {run_id} has {name} {result[name]}, expected {value}")
print(f"run {run_id} completed with the numbers of the release: {EXPECTED}")
