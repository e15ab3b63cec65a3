#!/bin/sh
# Tells the time five times. The name starts with nph-, so stdout is the client's
# connection itself: everything that goes over it is printed here.
set -eu

printf 'HTTP/1.1 200 OK\r\n'
printf 'Date: %s\r\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')"
printf 'Content-Type: text/plain\r\n'
printf 'Connection: close\r\n'
printf '\r\n'

[ "$REQUEST_METHOD" != HEAD ] || exit 0

for left in 4 3 2 1 0; do
    date -u '+%H:%M:%S'
    [ "$left" -eq 0 ] || sleep 1
done
