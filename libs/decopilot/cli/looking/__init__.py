"""Looking into runs from the log: `decopilot runs`, `events` and `replay`. They read, and change nothing."""
