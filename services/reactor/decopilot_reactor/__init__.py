"""Reactor: what follows from the log, and only that.

Hears: every event; the clock.
Says: views, watch events; closing frames and terminal events of runs that nobody else ends; `run_requested` of what
waits its turn; purges chunk logs whose runs have ended, erases deleted threads; asks `command` for the messages of
automations that are due.
Promises: level-triggered: any number of copies, repeats and reorderings lead to the same.
"""
