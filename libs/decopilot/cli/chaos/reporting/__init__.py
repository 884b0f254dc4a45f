"""Reporting: what a chaos run found, as a table for the terminal and as one page that needs nothing else (ADR 0053)."""

from decopilot.cli.chaos.reporting.page import page_of
from decopilot.cli.chaos.reporting.terminal import show

__all__ = ["page_of", "show"]
