"""Reading `decopilot.toml`: what the operator decided, the environment before the file."""

import os
import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from decopilot.contracts.configuration import Configuration
from decopilot.kit.program import ConfigurationError

FILE = Path("decopilot.toml")
_PREFIX, _DELIMITER = "DECOPILOT_", "__"


class ConfigurationFileError(ConfigurationError):
    """The file can't be read, or says what makes no sense; `problems` has a line for each mistake."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        super().__init__(f"{source}: {'; '.join(problems)}")


class MissingVariableError(ConfigurationError):
    """A variable that the configuration names, and that `needed_by` needs, is not in the environment."""

    def __init__(self, variable: str, needed_by: str) -> None:
        self.variable, self.needed_by = variable, needed_by
        super().__init__(f"{needed_by} needs the environment variable {variable}, which is not set")


class _Sources(Configuration, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER, nested_model_default_partial_update=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        _ = init_settings, dotenv_settings, file_secret_settings
        path = configuration_file()
        return (env_settings, *([] if path is None else [TomlConfigSettingsSource(settings_cls, path)]))


def configuration_file() -> Path | None:
    """Find the file: `DECOPILOT_CONFIG`, else `decopilot.toml` in the working folder if it is there."""
    named = os.environ.get("DECOPILOT_CONFIG")
    if named:
        return Path(named)
    return FILE if FILE.exists() else None


def read_configuration() -> Configuration:
    """Read the configuration; `DECOPILOT_TIERS__SMART=…` in the environment takes the place of `smart` in `[tiers]`.

    Raises:
        ConfigurationFileError: there is no such file, it is no TOML, or it breaks a rule.

    """
    path = configuration_file()
    source = "environment" if path is None else str(path)
    if path is not None and not path.is_file():
        raise ConfigurationFileError(source, ["there is no such file"])
    try:
        return Configuration.model_validate(_Sources().model_dump(by_alias=True, exclude_unset=True))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationFileError(source, [f"is no TOML: {error}"]) from error
    except ValidationError as error:
        raise ConfigurationFileError(source, list(_lines(error))) from error


def read_variable(variable: str, *, needed_by: str) -> str:
    """Read a key or token from the environment, where the configuration says that it stands.

    Raises:
        MissingVariableError: it is not set, or empty.

    """
    if not (value := os.environ.get(variable)):
        raise MissingVariableError(variable, needed_by)
    return value


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(step) for step in entry["loc"])
        message = entry["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {message}" if place else message)
    return lines
