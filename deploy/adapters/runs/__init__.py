"""Runs: what a deployment runs, how it starts, and the directory where its supervisor records the output."""
