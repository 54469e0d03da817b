#!/bin/bash
# Runs before the image's entry point, which takes any data directory for a complete one: after a first start that was
# killed half-way, the server would run for ever without the application's user. No init container can see that, since
# a restarted container does not run it again.
set -eu

data=/var/lib/mysql
initialised=/var/lib/mysql-state/initialised

refuse() {
  printf 'ERROR: %s\n' "$1" >&2
  exit 1
}

# The entry point writes passwords between quotes, unescaped.
check_password() {
  case $(<"$1") in
    '') refuse "The key ${1##*/} of Secret $SECRET_NAME is empty." ;;
    *[\'\"\\]*) refuse "The key ${1##*/} of Secret $SECRET_NAME has a quote or a backslash in it: choose another." ;;
  esac
}

if [[ -z $(ls -A "$data") ]]; then
  rm -f "$initialised"
  check_password "$MYSQL_PASSWORD_FILE"
  check_password "$MYSQL_ROOT_PASSWORD_FILE"
elif [[ ! -e $initialised && $TRUST_EXISTING_DATA == true ]]; then
  touch "$initialised"
elif [[ ! -e $initialised ]]; then
  refuse "The first start of this database was interrupted, so $STORAGE holds an unfinished data directory that nothing \
was stored in yet. Begin again: $BEGIN_AGAIN. (Is it a database that you brought? Then set $TRUST_VALUE=true instead.)"
fi
exec docker-entrypoint.sh mysqld
