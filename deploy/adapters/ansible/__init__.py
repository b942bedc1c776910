"""Everything about Ansible that runs outside its own process: command, variables, names of tasks.

Ansible itself is only ever started as a program; nothing in this package imports it, except the callback
plugin in `callback/`, which Ansible loads.
"""
