"""Event log, chunk log, views and topology: the only room that knows JetStream."""
