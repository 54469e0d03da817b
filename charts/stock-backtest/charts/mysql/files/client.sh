#!/bin/bash
# client.sh PROGRAM ARGUMENTS: a client program as the application's user over TCP. The password is in the environment: a
# command line shows in process lists.
MYSQL_PWD=$(<"$MYSQL_PASSWORD_FILE") exec "$1" --protocol=tcp --host=127.0.0.1 --port=3306 --connect-timeout=3 \
  --user="$MYSQL_USER" "${@:2}"
