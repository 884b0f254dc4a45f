"""Faults: what `decopilot chaos` does to a system, one module a family; `kinds.py` is the table of all."""
