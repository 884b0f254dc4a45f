"""Fixtures: what the logs hold, and a hand that writes to them."""

import pytest

from decopilot.log.store import Store
from support.reactors import ByHand
from support.services import Record


@pytest.fixture
def record(store: Store) -> Record:
    """What the logs of the broker hold."""
    return Record.of(store)


@pytest.fixture
def hand(record: Record) -> ByHand:
    """One thread that is written to step by step."""
    return ByHand(record)
