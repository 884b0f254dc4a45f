"""Links to files: whoever has one reads that file until it expires, without a token."""

import base64
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from decopilot.contracts.files import FileRef
from decopilot_gateway.problems import ProblemError

EXPIRES, SIGNATURE = "expires", "signature"
_PURPOSE = b"decopilot file links"


class Links:
    """Makes links and checks them; they are bound to org, thread and file, and good for `lasts_s`."""

    def __init__(self, secret: str, prefix: str, *, lasts_s: float) -> None:
        # A key of its own: nothing that signs tokens is ever fed what a link says.
        self._key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
        self._prefix = prefix
        self._lasts_s = lasts_s

    def url(self, file: FileRef) -> str:
        """Tell where a file is served, to those who have a token."""
        return self._prefix + file.path

    def link(self, file: FileRef) -> tuple[str, datetime]:
        """Make a link; also tells when it expires."""
        expires = int(time.time() + self._lasts_s)
        url = f"{self.url(file)}?{EXPIRES}={expires}&{SIGNATURE}={self._sign(file, str(expires))}"
        return url, datetime.fromtimestamp(expires, UTC)

    def check(self, file: FileRef, query: Mapping[str, str]) -> None:
        """Check what a link says.

        Raises:
            ProblemError: it has expired, or we never made it.

        """
        expires = query.get(EXPIRES, "")
        signature = self._sign(file, expires)
        if not hmac.compare_digest(signature.encode(), query.get(SIGNATURE, "").encode(errors="replace")):
            raise ProblemError("link_invalid", "The link is none that this gateway made.")
        # Signed by us, so it is a number.
        if int(expires) <= time.time():
            raise ProblemError("link_invalid", "The link has expired; ask for another one.")

    def _sign(self, file: FileRef, expires: str) -> str:
        said = "\n".join((*file, expires)).encode(errors="replace")
        return base64.urlsafe_b64encode(hmac.digest(self._key, said, "sha256")).decode().rstrip("=")
