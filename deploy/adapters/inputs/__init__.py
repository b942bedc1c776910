"""Inputs of services: the schema, dynamic choices, and the validation of values."""
