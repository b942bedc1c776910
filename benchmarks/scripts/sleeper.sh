#!/bin/sh
# Five steps of 0.1 s each, all spent waiting, as most of a deployment is.
for step in 1 2 3 4 5; do
    sleep 0.1
    echo "{\"name\": \"Step $step\", \"state\": \"success\"}"
done
