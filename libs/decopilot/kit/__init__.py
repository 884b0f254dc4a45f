"""Settings, logging, telemetry, connection, health: no business in here."""
