#!/bin/sh
# What can be chosen as the topic: a line for each.
cat <<'TOPICS'
A new version
Maintenance
A party
TOPICS
