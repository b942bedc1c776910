#!/bin/sh
# Prints 120 numbered lines in about six seconds.
set -eu

echo '{"name": "Prepare", "state": "running"}'
printf '\033[32mprepared\033[0m\n'
sleep 1
echo '{"name": "Prepare", "state": "success"}'
echo '{"name": "Count", "state": "running"}'
for number in $(seq 1 120); do
    echo "number $number"
    sleep 0.03
done
echo '{"name": "Count", "state": "success", "message": "120 numbers"}'
echo '{"name": "Clean up", "state": "success"}'
