#!/bin/sh
# Prints ?bytes=N bytes, all zero; N has at most 15 digits.
set -eu

bytes=${QUERY_STRING#bytes=}
case $QUERY_STRING in
bytes=?*) ;;
*) bytes=none ;;
esac
case $bytes in
*[!0-9]* | ????????????????*)
    printf 'Status: 400 Bad Request\nContent-Type: text/plain\n\nask for ?bytes=N\n'
    exit 0
    ;;
esac

printf 'Content-Type: application/octet-stream\nContent-Length: %s\n\n' "$bytes"
exec head -c "$bytes" /dev/zero
