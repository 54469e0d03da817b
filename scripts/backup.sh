#!/usr/bin/env bash
# Dumps of a release's MySQL: scripts/backup.sh backup | fetch | restore; `make help` explains them.
# Settings: RELEASE (bt), NAMESPACE (as RELEASE), FILE, DUMP, FORCE; KUBECONFIG and the context as kubectl takes them.
set -euo pipefail

RELEASE=${RELEASE:-bt}
NAMESPACE=${NAMESPACE:-$RELEASE}
FILE=${FILE:-}
OURS=app.kubernetes.io/instance=$RELEASE
PART=app.kubernetes.io/component
STAMP=$(date -u +%Y%m%dT%H%M%SZ)
HERE=$(cd "$(dirname "$0")/.." && pwd)

stop() { printf 'backup: %s\n' "$*" >&2; exit 1; }
say() { printf '  %s\n' "$*"; }
k() { kubectl --namespace "$NAMESPACE" "$@"; }

# The end of a dump says that it is whole, and unpacking it that every byte is right.
whole() {
    local end
    end=$(gzip -dc "$1" 2>/dev/null | tail -n 1) && [[ $end == '-- Dump completed'* ]]
}

find_mysql() {
    command -v kubectl >/dev/null || stop "kubectl is missing: install it and put it on the PATH"
    POD=$(k get pods -l "$OURS,$PART=mysql" -o name) || stop "the cluster does not answer, or says no; see above"
    [ -n "$POD" ] || stop "no MySQL of the release $RELEASE in the namespace $NAMESPACE: RELEASE= and NAMESPACE= name \
another one; a database of your own is saved by its own tools"
}

# What the command writes becomes the file, once it is whole; nothing is there before.
keep() (
    local part=$1.part
    [ ! -e "$1" ] || stop "$1 is there already: FILE= names another one"
    umask 077
    trap 'rm -f "$part"' EXIT
    "${@:2}" >"$part" || stop "the dump was cut off; nothing is kept"
    whole "$part" || stop "what arrived is not whole; nothing is kept"
    mv "$part" "$1"
)

dump() { k exec "$POD" --container mysql -- bash -c "$(<"$HERE/charts/stock-backtest/charts/mysql/files/dump.sh")"; }

backup() {
    local file=${FILE:-$RELEASE-$STAMP.sql.gz}
    find_mysql
    keep "$file" dump
    say "$file: $(wc -c <"$file") bytes"
}

# The CronJob's own pod, asleep, opens its volume.
fetch() {
    local cronjob asleep='[{"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["sleep", "900"]}]'
    command -v kubectl >/dev/null || stop "kubectl is missing: install it and put it on the PATH"
    cronjob=$(k get cronjobs -l "$OURS,$PART=backup" -o name) || stop "the cluster does not answer, or says no; see above"
    [ -n "$cronjob" ] || stop "the release $RELEASE in the namespace $NAMESPACE takes no backups: mysql.backup.enabled=true"
    JOB=job/${cronjob#*/}-fetch
    trap 'k delete "$JOB" --ignore-not-found --wait=false >/dev/null' EXIT
    k create job "${JOB#*/}" --from="$cronjob" --dry-run=client -o yaml |
        kubectl patch --local -f - --type json --patch "$asleep" -o yaml | k create -f - >/dev/null
    k wait "$JOB" --for='jsonpath={.status.ready}=1' --timeout=180s >/dev/null
    k exec "$JOB" -- ls -l /backups
    DUMP=${DUMP:-$(k exec "$JOB" -- ls /backups | grep '\.sql\.gz$' | tail -n 1 || true)}
    [ -n "$DUMP" ] || stop "there is no dump yet"
    keep "${FILE:-$RELEASE-$DUMP}" k exec "$JOB" -- cat "/backups/$DUMP"
    say "${FILE:-$RELEASE-$DUMP}: $(wc -c <"${FILE:-$RELEASE-$DUMP}") bytes"
}

# SQL as the application's user, in the database's own pod; @DB is the database's name.
CLIENT='bash /scripts/client.sh mysql --max-allowed-packet=64M --batch --skip-column-names --database="$MYSQL_DATABASE"'
EMPTY='SET lock_wait_timeout = 60; DROP DATABASE `@DB`; CREATE DATABASE `@DB`'
query() { k exec "$POD" --container mysql -- bash -c "$CLIENT"' --execute="${1//@DB/$MYSQL_DATABASE}"' query "$1"; }
pour() { k exec -i "$POD" --container mysql -- bash -c "set -o pipefail; gunzip | $CLIENT" <"$1"; }

count_runs() {
    local tables; tables=$(query "SHOW TABLES LIKE 'runs'")
    if [ -n "$tables" ]; then query 'SELECT COUNT(*) FROM runs'; else echo 0; fi
}

# Nobody but the restore may touch the database: no pod of web or controller, no Job that runs, none that a CronJob starts.
stand_still() {
    local parts="$OURS,$PART in (web,controller)"
    DEPLOYMENTS=$(k get deployments -l "$parts" -o jsonpath='{range .items[*]}{.metadata.name}={.spec.replicas} {end}')
    CRONJOBS=$(k get cronjobs -l "$OURS" -o jsonpath='{range .items[?(@.spec.suspend!=true)]}{.metadata.name} {end}')
    trap finish EXIT
    say "web, controller and CronJobs of $RELEASE stand still"
    for name in $CRONJOBS; do suspend "$name" true; done
    for each in $DEPLOYMENTS; do scale "${each%=*}" 0; done
    k wait pods -l "$parts" --for=delete --timeout=180s >/dev/null
    k delete jobs -l "$OURS" --cascade=foreground --timeout=180s >/dev/null
}

suspend() { k patch cronjob "$1" --patch "{\"spec\": {\"suspend\": $2}}" >/dev/null; }
scale() { k scale deployment "$1" --replicas="$2" >/dev/null; }

# However the restore ends: the old runs where the new ones did not arrive, and everybody back to work.
finish() {
    local code=$?
    [ -z "$LOADING" ] || put_back || say "NOT put back: the database is incomplete"
    for name in $CRONJOBS; do suspend "$name" false || say "still suspended: CronJob $name"; done
    for each in $DEPLOYMENTS; do scale "${each%=*}" "${each#*=}" || say "still at 0, was ${each#*=}: deployment ${each%=*}"; done
    [ $code = 0 ] || return 0
    for each in $DEPLOYMENTS; do k rollout status "deployment/${each%=*}" --timeout=300s; done
}

put_back() {
    query "$EMPTY" || return
    if [ -n "$BEFORE" ]; then pour "$BEFORE" && say "put back: $BEFORE"; else say "the database is empty again"; fi
}

restore() {
    local runs
    LOADING='' BEFORE=''
    [ -n "$FILE" ] || stop "FILE= names the dump: make restore FILE=..."
    [ -f "$FILE" ] || stop "there is no file $FILE"
    whole "$FILE" || stop "$FILE is not a whole dump; nothing was touched"
    find_mysql
    runs=$(count_runs)
    [ "$runs" = 0 ] || [ "${FORCE:-}" = 1 ] || stop "the database of $RELEASE has $runs runs: FORCE=1 replaces them"
    stand_still
    if [ "$(count_runs)" != 0 ]; then
        BEFORE=$RELEASE-before-restore-$STAMP.sql.gz
        keep "$BEFORE" dump
        say "what was there is in $BEFORE"
    fi
    LOADING=1
    query "$EMPTY"
    pour "$FILE" || stop "the restore failed; see above"
    LOADING=''
    say "$(count_runs) runs are there now; web and controller come back and bring the schema up to date"
}

case ${1:-} in
    backup | fetch | restore) "$1" ;;
    *) sed -n 2,3p "$0"; exit 2 ;;
esac
