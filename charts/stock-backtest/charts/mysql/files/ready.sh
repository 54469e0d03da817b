#!/bin/bash
# Ready is what the application can use. A refused login is an answer, too: after ALTER USER it takes a minute until the new
# Secret is in the pod, and a Service without its pod would cut off all who are logged in.
if said=$(bash /scripts/client.sh mysql --database="$MYSQL_DATABASE" --execute='SELECT 1' 2>&1); then exit 0; fi
printf '%s\n' "$said"
[[ $said == 'ERROR 1045 '* ]]
