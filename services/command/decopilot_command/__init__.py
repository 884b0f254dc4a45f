"""Command: turns wishes into facts.

Hears: requests on `decopilot.command.*`, one copy of it each (queue group); on `decopilot.given_up`, for which
tries nothing is to be appended any more, every copy.
Says: events; wake-ups on `decopilot.signal.*`; `decopilot.track.*` for product analytics.
Promises: validates, tracks, claims the run by appending; answers in milliseconds; never starts work.
"""
