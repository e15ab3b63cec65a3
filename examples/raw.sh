#!/bin/sh
# Prints a full HTTP response, status line and all. Caffeine reads its head and
# sees to the framing, so that nothing here has to be counted.
set -eu

printf 'HTTP/1.1 201 Created\r\n'
printf 'Content-Type: text/plain\r\n'
printf 'X-Made-By: raw.sh\r\n'
printf '\r\n'
printf 'made\n'
