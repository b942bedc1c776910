#!/bin/sh
set -eu

echo '{"name": "Write", "state": "running"}'
seq -f 'line %.0f of a very long log, as long as those of real deployments are' 1 100000
echo '{"name": "Write", "state": "success"}'
