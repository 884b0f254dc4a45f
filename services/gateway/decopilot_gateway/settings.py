"""What the gateway is told beyond what every service is."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from decopilot_gateway.auth.settings import AuthSettings

REQUESTS = 2_000
"""So many connections there may be for all that is no stream."""
TRACE_ID = "{trace_id}"
"""What stands for the trace's id in `trace_url`."""


class GatewaySettings(AuthSettings):
    """Settings of the gateway, beside those of its door.

    `memory_bytes` is what may be remembered of threads and orgs that are followed, and of those that were until
    `linger_s` ago; `streams`, in all, per org and per user, are what may be open at once of attach, watch and files on
    their way, `connections` what may be open of everything, by default `REQUESTS` more. `file_limit_bytes` is the
    largest file that is taken, `file_link_s` how long a link to one is good. `trace_url` is where a run's trace can be
    looked at, with `{trace_id}` in the place of its id. With `trust_traces` callers decide whether their traces are
    sampled; `baggage_keys`, joined by commas, are what is kept of their baggage. `cors_origins` are the origins, joined
    by commas, whose pages may call. `paint_sample` is the share of chunks of which clients measure how long they take
    until they are painted.
    """

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    path_prefix: str = Field(default="", pattern=r"^(/[A-Za-z0-9_-]+)*$")
    body_limit_bytes: int = Field(default=4 << 20, ge=1024)
    file_limit_bytes: int = Field(default=25 << 20, ge=1024, le=1 << 30)
    file_link_s: float = Field(default=3_600.0, gt=0, le=7 * 86_400)
    keepalive_s: float = Field(default=15.0, gt=0)
    memory_bytes: int = Field(default=64 << 20, ge=1 << 20)
    linger_s: float = Field(default=15.0, ge=0)
    connections: int | None = Field(default=None, ge=1)
    cors_origins: str = ""
    streams: int = Field(default=10_000, ge=1)
    streams_per_org: int = Field(default=5_000, ge=1)
    streams_per_user: int = Field(default=500, ge=1)
    trace_url: str = ""
    trust_traces: bool = False
    baggage_keys: str = ""
    paint_sample: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)

    @property
    def most_connections(self) -> int:
        """How many connections there may be."""
        return self.streams + REQUESTS if self.connections is None else self.connections

    @property
    def kept_baggage(self) -> list[str]:
        """The entries of a caller's baggage that are kept."""
        return [key.strip() for key in self.baggage_keys.split(",") if key.strip()]

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for origin in filter(None, (one.strip() for one in value.split(","))):
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.hostname
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                msg = f"{origin} is no origin, such as https://app.example.com"
                raise ValueError(msg)
        return value

    @field_validator("trace_url")
    @classmethod
    def _check_trace_url(cls, value: str) -> str:
        if not value:
            return value
        example = value.replace(TRACE_ID, "0")
        parts = urlsplit(example)
        # It becomes a link of the page: of a scheme that a browser only ever follows.
        if parts.scheme not in {"http", "https"} or not parts.hostname or TRACE_ID not in value or {*"{}"} & {*example}:
            msg = f"expected an http or https address with {TRACE_ID} in it"
            raise ValueError(msg)
        return value
