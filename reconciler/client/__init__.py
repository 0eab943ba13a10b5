"""The commands of `moored` that ask a running agent, over its REST API.

A line of arguments goes in (`arguments.py` knows every command and option), says together with
environment and configuration file which agent is meant (`configuration.py`), is spoken over
HTTP (`connection.py`), watched while the agent works (`following.py`) and printed
(`printing.py`). What can go wrong, and the exit status it ends with, is `exits.py`.

This package knows the agent only by its API: it imports neither the agent nor the store, so
it starts fast and works from any machine. Standard library alone, and PyYAML where YAML is
read or written.
"""
