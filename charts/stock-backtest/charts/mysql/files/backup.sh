#!/bin/bash
# One more dump on the volume: under its name it is whole, or it is not there. Old ones go once the new one is.
set -euo pipefail
cd /backups

refuse() {
  printf 'ERROR: %s; the dumps before it are still there.\n' "$1" >&2
  exit 1
}

dump() { bash /scripts/dump.sh >"$part"; }

rm -f ./*.part # of a backup that was killed
new=$(date -u +%Y%m%dT%H%M%SZ).sql.gz
part=$new.$HOSTNAME.part
trap 'rm -f "$part"' EXIT

mysqladmin --protocol=tcp --host="$DB_HOST" --connect-timeout=3 --wait=60 ping &>/dev/null ||
  refuse "The database does not answer"
# A migration at the same moment, as at the first start, fails a dump rather than tear it.
dump || { sleep 20 && dump; } || refuse "The dump failed twice"
end=$(gzip -dc "$part" | tail -n 1) || refuse "The dump cannot be unpacked"
[[ $end == '-- Dump completed'* ]] || refuse "The dump has no end"
sync "$part"
mv "$part" "$new"

dumps=([0-9]*.sql.gz) # in the order of their times
old=$((${#dumps[@]} - KEEP))
if ((old > 0)); then rm -- "${dumps[@]:0:old}"; fi
printf '%s has %s bytes; %s dumps are here\n' "$new" "$(wc -c <"$new")" "$((old > 0 ? KEEP : ${#dumps[@]}))"
