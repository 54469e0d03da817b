#!/bin/bash
# Writes a dump of the database to stdout, compressed: what one transaction sees of it, so nobody has to stand still. It
# takes no right that the application's user has not got, and names no user: a view belongs to whoever restores it.
set -euo pipefail
later=() # what only later versions know: masking policies are root's to read
if [[ $(mysqldump --help) == *--masking-policies* ]]; then later=(--skip-masking-policies); fi
MYSQL_PWD=$(<"$MYSQL_PASSWORD_FILE") mysqldump --protocol=tcp --host="${DB_HOST:-127.0.0.1}" --port=3306 \
  --user="$MYSQL_USER" --single-transaction --no-tablespaces --set-gtid-purged=OFF --hex-blob --max-allowed-packet=64M \
  "${later[@]}" "$MYSQL_DATABASE" | LC_ALL=C sed '/^\/\*!50013 DEFINER=/s/DEFINER=.* SQL SECURITY/SQL SECURITY/' | gzip
