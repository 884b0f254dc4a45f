"""How a service's process tells, by its exit code, whether starting it again helps."""

CANNOT_RUN = 78
"""It would fail again however often it is started: its configuration is to be mended (EX_CONFIG of sysexits.h)."""
