"""What can go wrong between a client and its gateway."""


class ClientError(Exception):
    """Anything that this library raises of its own."""


class ApiError(ClientError):
    """The gateway refused: HTTP status, stable code (docs/protocol.md), and what it says about it.

    `outcome` tells what stands instead of what was asked for, where the gateway knows. Of an answer that is no
    problem document, as proxies give, the code is `unknown`.
    """

    def __init__(self, status: int, code: str, detail: str, outcome: object = None) -> None:
        self.status, self.code, self.detail, self.outcome = status, code, detail, outcome
        super().__init__(f"{code} ({status}): {detail}")


class UnreachableError(ClientError):
    """No answer within the deadline; what was asked for may have been done all the same."""

    def __init__(self, url: str, deadline_s: float, last: BaseException) -> None:
        self.url, self.deadline_s, self.last = url, deadline_s, last
        super().__init__(f"no answer from {url} within {deadline_s:g} s: {str(last) or type(last).__name__}")


class StreamLostError(ClientError):
    """A stream's connection ended; it is come back for. Only ever told to those who want to know (`on_wait`)."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the connection was lost: {reason}")


class ArgumentError(ClientError, ValueError):
    """An argument that no gateway could take: an id, a URL, an empty text."""
