#!/bin/sh
# A deploy script can be any program. fastDeploy runs it as: deploy.sh --config FILE
# Lines like {"name": ..., "state": ...} become steps. All other lines go to the log.
set -eu

# The texts are inserted into JSON without escaping, so they must not contain " or \.
step() {
    printf '{"name": "%s", "state": "%s", "message": "%s"}\n' "$1" "$2" "$3"
}

step "Look around" running ""
machine=$(uname -sm)
echo "Running on $machine as $(id -un)."
step "Look around" success "This is $machine"

step "Say hello" running "Waiting a second"
sleep 1
echo "Hello, world!"
step "Say hello" success "Hello, world!"

step "Tidy up" running ""
echo "This example changes nothing, so there is nothing to tidy up."
step "Tidy up" success "Nothing was changed"
