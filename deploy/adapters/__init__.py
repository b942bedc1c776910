"""Adapters for the database, service folders, runs, Ansible, and sockets."""
