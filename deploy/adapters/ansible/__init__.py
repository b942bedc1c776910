"""Run Ansible as a program: its command line, variables, and task names.

Ansible always runs as a separate program. No module in this package imports it, except the callback plugin in
`callback/`, which Ansible loads.
"""
