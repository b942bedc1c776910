#!/bin/sh
# $1 is "--config", $2 the file with the inputs.
set -eu

echo '{"name": "Log in", "state": "success"}'
echo '{"name": "Resize", "state": "running"}'
echo "resizing the disk"
if grep -q '"size": *3' "$2"; then
    echo "there is no room for 3" >&2
    echo '{"name": "Resize", "state": "failure", "message": "There is no room for size 3"}'
    exit 1
fi
echo '{"name": "Resize", "state": "success"}'
