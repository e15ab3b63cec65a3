#!/bin/sh
# Server-sent events, one each second: new EventSource("/events.sh") in a page,
# or curl -N. Ends before its time is over; a browser then connects again.
set -eu

printf 'Content-Type: text/event-stream\nCache-Control: no-store\n\n'
[ "$REQUEST_METHOD" != HEAD ] || exit 0

left=$((${CAFFEINE_DEADLINE_MS:-60000} / 1000 - 2))
number=0
while [ "$number" -eq 0 ] || [ "$number" -lt "$left" ]; do
    number=$((number + 1))
    printf 'id: %d\ndata: %s\n\n' "$number" "$(date -u '+%H:%M:%S')"
    sleep 1
done
