#!/bin/sh
# Shows the environment of a handler, cookies included: for trying out only.
set -eu

printf 'Content-Type: text/plain\nCache-Control: no-store\n\n'
env | LC_ALL=C sort
