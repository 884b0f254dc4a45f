"""Reactor: what follows from the log, and only that.

Hears: every event.
Says: views, watch events; purges chunk logs whose runs have ended.
Promises: level-triggered: any number of copies, repeats and reorderings lead to the same.
"""
