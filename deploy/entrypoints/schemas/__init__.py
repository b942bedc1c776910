"""Schemas of request and response bodies, by topic."""
