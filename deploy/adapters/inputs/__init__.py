"""Inputs of services: the schema, dynamic choices, and validation of values."""
