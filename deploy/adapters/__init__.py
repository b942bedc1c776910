"""Adapters to the database, service folders, runs, Ansible and sockets."""
