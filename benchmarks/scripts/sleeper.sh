#!/bin/sh
# Five steps of a tenth of a second each: it waits, as most of a deployment does.
for step in 1 2 3 4 5; do
    sleep 0.1
    echo "{\"name\": \"Step $step\", \"state\": \"success\"}"
done
