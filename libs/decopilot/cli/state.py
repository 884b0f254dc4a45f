"""The data folder of `decopilot up`: its lock, its secrets, and the file that says what runs."""

import contextlib
import fcntl
import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from decopilot.cli.errors import CliError

SECRET_BYTES = 32  # 43 characters in base64url
LOCK_PATIENCE_S = 0.5
LOCK_POLL_S = 0.05


class ProcessInfo(BaseModel):
    """One supervised process, as `run.json` and `decopilot ps --json` show it."""

    model_config = ConfigDict(frozen=True)

    service: str
    index: int
    pid: int | None
    port: int
    health_url: str
    metrics_url: str = ""
    state: str


class RunInfo(BaseModel):
    """What a running `up` tells others; holds no secret, so `web_url` comes without its token."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: datetime
    nats_url: str
    web_url: str
    processes: tuple[ProcessInfo, ...]


class FolderTakenError(CliError):
    """Another `up` works in this data folder; `pid` names it where it is known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(
            f"{path} is in use by another `decopilot up` (pid {pid or 'unknown'}). "
            "End it with `decopilot down`, or choose another --data-dir."
        )


class DataFolder:
    """Everything `up` keeps between two starts; private to its user."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.nats_store = self.path / "nats"
        self.link_page = self.path / "open.html"
        self._lock = self.path / "lock"
        self._run = self.path / "run.json"

    def create(self) -> None:
        """Make the folder if it is missing, unreadable for others and out of version control."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            message = f"Can't use {self.path} as the data folder: {error.strerror}."
            raise CliError(message) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises `FolderTakenError` where another process does."""
        with self._lock.open("a+") as lock:
            deadline = time.monotonic() + LOCK_PATIENCE_S
            # A `ps` that looks whether somebody holds the lock holds it itself for an instant: worth a second try.
            while not try_lock(lock.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise FolderTakenError(self.path, self._locker())
                time.sleep(LOCK_POLL_S)
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def holder(self) -> int | None:
        """Return the pid of the `up` that holds the folder, None where nothing runs."""
        try:
            lock = self._lock.open()
        except FileNotFoundError:
            return None
        with lock:
            return None if try_lock(lock.fileno(), fcntl.LOCK_SH) else self._locker()

    def nats_passwords(self, users: Iterable[str]) -> dict[str, str]:
        """Return the password of each user of the embedded NATS server, each in a file; made at the first call."""
        return {user: self._secret(f"nats-{user}") for user in users}

    def jwt_secret(self, environment: Mapping[str, str]) -> str:
        """Return what signs tokens: DECOPILOT_JWT_SECRET, else a file made at the first call."""
        return environment.get("DECOPILOT_JWT_SECRET") or self._secret("jwt-secret")

    def has_secret(self, environment: Mapping[str, str]) -> bool:
        """Tell whether there is something that signs tokens already."""
        return bool(environment.get("DECOPILOT_JWT_SECRET")) or (self.path / "jwt-secret").exists()

    def write_run(self, info: RunInfo) -> None:
        """Tell others what runs."""
        write_private(self._run, info.model_dump_json(indent=2) + "\n")

    def read_run(self) -> RunInfo:
        """Return what the running `up` told; raises `CliError` where nothing runs or nothing was told yet."""
        if self.holder() is None:
            message = (
                f"Nothing runs in {self.path}. Start it with: decopilot up --data-dir {shlex.quote(str(self.path))}"
            )
            raise CliError(message)
        try:
            return RunInfo.model_validate_json(self._run.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            message = f"`decopilot up` (pid {self.holder()}) is only just starting or ending; try again."
            raise CliError(message) from error

    def forget_run(self) -> None:
        """Remove what was told about a run that is over."""
        self._run.unlink(missing_ok=True)
        self.link_page.unlink(missing_ok=True)

    def _locker(self) -> int | None:
        text = self._lock.read_text().strip()
        return int(text) if text.isdigit() else None

    def _secret(self, name: str) -> str:
        path = self.path / name
        if not path.exists():
            self.create()
            # A link, unlike a rename, never replaces: of two that start at once, both go on with the same secret.
            with contextlib.suppress(FileExistsError), _private_file(path, secrets.token_urlsafe(SECRET_BYTES)) as new:
                os.link(new, path)
        path.chmod(0o600)
        secret = path.read_text().strip()
        if not secret:
            message = f"{path} is empty. Remove it, and a new secret is made."
            raise CliError(message)
        return secret


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, mode 0600: a reader sees the old or the new text, never a part."""
    with _private_file(path, text) as new:
        new.replace(path)


def try_lock(descriptor: int, kind: int) -> bool:
    """Lock the open file (`fcntl.LOCK_EX` or `LOCK_SH`) if nobody else holds it; tell whether that worked."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _private_file(beside: Path, text: str) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{beside.name}.", dir=beside.parent)  # mkstemp: mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
