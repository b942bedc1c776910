#!/bin/sh
# Prints 80 numbered lines in about sixteen seconds, so that a test can join late, leave and return.
set -eu

echo '{"name": "Count slowly", "state": "running"}'
for number in $(seq 1 80); do
    echo "counting $number"
    sleep 0.2
done
echo '{"name": "Count slowly", "state": "success", "message": "80 numbers"}'
echo '{"name": "Rest", "state": "success"}'
