#!/bin/sh
# Shows a helpful failure: say what is wrong, what has not been changed, and what to do next.
set -eu

disk=/mnt/fastdeploy-example-backup

echo '{"name": "Prepare", "state": "running"}'
echo "Checking everything that can be checked without changing anything."
echo '{"name": "Prepare", "state": "success", "message": "Ready"}'

echo '{"name": "Check the backup disk", "state": "running"}'
if [ ! -d "$disk" ]; then
    echo "There is no folder $disk." >&2
    cat <<EOF
{"name": "Check the backup disk", "state": "failure", "error_message": "The backup disk is not there ($disk). Nothing has been changed: the old version is still running. Connect the disk and deploy again."}
EOF
    exit 1
fi

echo '{"name": "Install", "state": "success", "message": "Installed"}'
echo '{"name": "Start again", "state": "success", "message": "Running"}'
