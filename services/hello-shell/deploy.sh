#!/bin/sh
# A deploy script is any program. It is started as: deploy.sh --config FILE
# Lines like {"name": ..., "state": ...} become steps, everything else becomes the log.
set -eu

# The texts go into JSON as they are, so they must not contain " or \.
step() {
    printf '{"name": "%s", "state": "%s", "message": "%s"}\n' "$1" "$2" "$3"
}

step "Look around" running ""
machine=$(uname -sm)
echo "I run on $machine, as $(id -un)."
step "Look around" success "This is $machine"

step "Say hello" running "Taking a deep breath"
sleep 1
echo "Hello, world!"
step "Say hello" success "Hello, world!"

step "Tidy up" running ""
echo "There is nothing to tidy up: this example changes nothing."
step "Tidy up" success "Nothing was changed"
