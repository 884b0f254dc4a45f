"""Runner: drives one attempt of one run.

Hears: `run_requested`; questions on `decopilot.signal.*`.
Says: `run_started`, `step_completed`, terminal events; chunk frames.
Promises: can be killed at any instant; nothing has an effect that the log does not know of.
"""
