#!/bin/sh
# Greets on GET, gives a body back on POST.
set -eu

if [ "$REQUEST_METHOD" = POST ]; then
    printf 'Content-Type: %s\n' "${CONTENT_TYPE:-application/octet-stream}"
    printf 'Content-Length: %s\n\n' "${CONTENT_LENGTH:-0}"
    exec cat
fi

printf 'Content-Type: text/plain\n\n'
printf 'Hello from sh.\n'
printf 'method: %s\n' "$REQUEST_METHOD"
printf 'path info: %s\n' "${PATH_INFO:-}"
printf 'query: %s\n' "$QUERY_STRING"
