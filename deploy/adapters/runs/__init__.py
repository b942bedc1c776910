"""Runs: what a deployment runs, starting it, and the directory in which its supervisor records the output."""
