"""Ansible from the outside: command line, variables and task names.

Ansible is always started as a program. Nothing in this package imports it, except the callback plugin in `callback/`,
which Ansible loads.
"""
