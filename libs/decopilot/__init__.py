"""Durable AI chat runs: what every service shares."""
