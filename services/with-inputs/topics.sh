#!/bin/sh
# Prints the choices for the topic, one per line.
cat <<'TOPICS'
A new version
Maintenance
A party
TOPICS
