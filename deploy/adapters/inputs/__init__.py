"""Inputs of services: their schema, its choices, and the check of what people answer."""
