"""stub"""
from pathlib import Path
from bench.peers.results import Report
def plot(report: Report, path: Path) -> None: ...
