"""Providers of models: those that pydantic-ai knows by their names, and whatever speaks OpenAI's API at an address."""

import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import create_async_httpx2_client, known_model_names
from pydantic_ai.providers import Provider, infer_provider_class

from decopilot.contracts.configuration import DEMO
from decopilot.contracts.configuration import Provider as ProviderEntry
from decopilot.kit.configuration import read_variable
from decopilot.kit.program import ConfigurationError

CONNECT_S, WRITE_S, POOL_S = 10.0, 60.0, 10.0
IDLE_S = 300.0
"""So long a provider may send nothing: half of what the reactor gives a silent run, so that the agent can say why."""
COMPATIBLE = "openai-chat"
"""What a provider speaks that says nothing else: OpenAI's chat completions, which everybody imitates."""

NO_KEY = "no-key"
_MORE_NAMES = frozenset({"azure", "fireworks", "litellm", "ollama", "openrouter", "sambanova", "together", "vllm"})
"""The best known of the providers that pydantic-ai lists no models of."""
_ADDRESSES = ("base_url", "azure_endpoint", "api_base")
_KEYS = ("api_key", "token")
_EXTRA = re.compile(r"pydantic-ai-slim\[([a-z-]+)\]")
_OUR_EXTRAS = ("anthropic", "bedrock", "cohere", "google", "groq", "huggingface", "mistral", "openai", "xai")


class ProviderError(ConfigurationError):
    """A provider can't be had, for the reason it gives."""

    def __init__(self, provider: str, why: str) -> None:
        self.provider, self.why = provider, why
        super().__init__(f"provider {provider}: {why}")


class Providers:
    """Makes providers, each with one HTTP client that all runs share, and closes them.

    `transport` takes the place of the network.
    """

    def __init__(
        self, entries: Mapping[str, ProviderEntry], transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._entries = entries
        self._transport = transport
        self._made: dict[str, Provider[Any]] = {}
        self._clients: list[httpx2.AsyncClient] = []

    def kind(self, name: str) -> str:
        """Tell whose API a provider speaks: a name that pydantic-ai knows.

        Raises:
            ProviderError: nobody knows it.

        """
        entry = self._entries.get(name, ProviderEntry())
        kind = entry.type or name
        try:
            infer_provider_class(kind)
        except ImportError as error:
            raise ProviderError(name, _missing_package(str(error))) from error
        except ValueError as error:
            if entry.type is None and entry.base_url is not None:
                return COMPATIBLE
            raise ProviderError(name, self._unknown(kind)) from error
        return kind

    def named(self, name: str) -> Provider[Any]:
        """Give a provider.

        Raises:
            ProviderError: it is unknown, its package or its key is missing, or it takes no address.
            MissingVariableError: the variable that is to hold its key is not set.

        """
        if name not in self._made:
            try:
                self._made[name] = self._make(name, self._entries.get(name, ProviderEntry()))
            except ImportError as error:
                raise ProviderError(name, _missing_package(str(error))) from error
            except UserError as error:
                # Its first sentence names the variable that is missing; the rest is for those who write Python.
                why = str(error).partition(". ")[0].partition(" or pass it via")[0]
                raise ProviderError(name, why[:1].lower() + why[1:]) from error
        return self._made[name]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    def _make(self, name: str, entry: ProviderEntry) -> Provider[Any]:
        kind, key = self.kind(name), None
        if entry.api_key_env is not None:
            key = read_variable(entry.api_key_env, needed_by=f"provider {name}")
        elif name != kind:
            # The usual variable holds a key for somebody else's address.
            key = NO_KEY
        if kind == COMPATIBLE and name != COMPATIBLE:
            from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415  may be missing

            if entry.base_url is None:
                raise ProviderError(name, "needs a base_url")
            return OpenAICompatibleProvider(name, base_url=entry.base_url, api_key=key, http_client=self._client())
        made = infer_provider_class(kind)
        takes = inspect.signature(made.__init__).parameters
        told: dict[str, Any] = {"http_client": self._client()} if "http_client" in takes else {}
        if key is not None:
            told[_first(name, _KEYS, takes, "api_key_env")] = key
        if entry.base_url is not None:
            told[_first(name, _ADDRESSES, takes, "base_url")] = entry.base_url
        return made(**told)

    def _client(self) -> httpx2.AsyncClient:
        timeout = httpx2.Timeout(connect=CONNECT_S, read=IDLE_S, write=WRITE_S, pool=POOL_S)
        client = create_async_httpx2_client(timeout=timeout, transport=self._transport)
        self._clients.append(client)
        return client

    def _unknown(self, kind: str) -> str:
        known = {name.partition(":")[0] for name in known_model_names() if "/" not in name}
        near = get_close_matches(kind, sorted(known | _MORE_NAMES | {*self._entries, DEMO}), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        return f"unknown{hint} One of your own needs a [providers.{kind}] with its base_url"


def _first(name: str, wanted: tuple[str, ...], takes: Any, setting: str) -> str:  # noqa: ANN401  a mapping of parameters
    for parameter in wanted:
        if parameter in takes:
            return parameter
    raise ProviderError(name, f"takes no {setting}; a table of another name with type = '{COMPATIBLE}' does")


def _missing_package(message: str) -> str:
    found = _EXTRA.search(message)
    if found is None:
        return f"its package is missing: {message}"
    extra = found.group(1)
    package = "decopilot" if extra in _OUR_EXTRAS else "pydantic-ai-slim"
    return f"its package is missing; install it with: pip install '{package}[{extra}]'"
