import sys
import time
import uuid
from urllib.parse import urljoin

import requests

web = requests.Session()
request = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
answer = web.post(
    f"{sys.argv[1]}/backtest", json=request, headers={"Idempotency-Key": str(uuid.uuid4())}
)
answer.raise_for_status()
address = urljoin(answer.url, answer.json()["result_url"])
while (answer := web.get(address)).status_code == 202:
    time.sleep(int(answer.headers["Retry-After"]))
answer.raise_for_status()
print(
    {name: value for name, value in answer.json().items() if name not in ("chart_base64", "trades")}
)
