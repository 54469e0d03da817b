#!/bin/sh
# One backtest over HTTP against a running platform: sh scripts/smoke.sh http://127.0.0.1:5000
set -eu
url=$1
request='{"ticker": "GOOG", "rule_id": "MA_CROSS_10_30", "start_date": "2013-01-02", "end_date": "2020-02-07"}'
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }

for _ in $(seq 300); do
    curl -sf "$url/ready" >/dev/null 2>&1 && break
    sleep 1
done
curl -sf "$url/ready" >/dev/null || { echo "$url is not ready after 5 minutes"; exit 1; }
run_id=$(curl -sf "$url/backtest?force=true" -H 'Content-Type: application/json' -d "$request" | field run_id)
for _ in $(seq 60); do
    status=$(curl -sf "$url/status/$run_id" | field status)
    case $status in completed | failed | cancelled) break ;; esac
    sleep 1
done
[ "$status" = completed ] || { echo "run $run_id ended as $status"; exit 1; }
curl -sf "$url/result/$run_id" | grep -q '"total_return_pct":162.945542486' || { echo "run $run_id has another result"; exit 1; }
curl -sf -H 'Accept: text/html' "$url/result/$run_id" | grep -q 'class="tiles"' || { echo "no numbers on the page"; exit 1; }
curl -sf "$url/result/$run_id/chart.json" | grep -q '"is_thinned":false' || { echo "no chart"; exit 1; }
curl -sf "$url/result/$run_id/report?lang=ko" | grep -q 'data:image/png;base64,' || { echo "no figure in the report"; exit 1; }
echo "smoke: run $run_id completed, result, page, chart and report are there"
