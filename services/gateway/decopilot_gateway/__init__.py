"""Gateway: the only door for browsers.

Hears: HTTP; re-published chunks and watch events.
Says: requests to `command`, and which of its tries are given up; Server-Sent Events.
Promises: delivers nothing that is not stored, each chunk once and in order; holds no state that a restart would lose.
"""
