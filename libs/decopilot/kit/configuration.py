"""Reading `decopilot.toml`: what the operator decided, the environment before the file."""

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError

from decopilot.contracts.configuration import Configuration
from decopilot.domain.schedules import Schedule, ScheduleError
from decopilot.kit.program import ConfigurationError
from decopilot.kit.toml_lines import line_of

FILE = Path("decopilot.toml")
_PREFIX, _DELIMITER = "DECOPILOT_", "__"
_SAID = {"extra_forbidden": "there is no such key"}
_KEYS = re.compile(r"[\w-]+(\.[\w-]+)*")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class ConfigurationFileError(ConfigurationError):
    """The configuration can't be read, or says what makes no sense.

    `problems` has a line for each mistake, with the place where it is to be mended.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = [f"{_place(source, problem)}: {problem}" for problem in problems]
        super().__init__("; ".join(self.problems))


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
        configuration = Configuration.model_validate(_Sources().model_dump(by_alias=True, exclude_unset=True))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationFileError(source, [f"is no TOML: {error}"]) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationFileError(source, [f"can't be read: {error}"]) from error
    except SettingsError as error:
        raise ConfigurationFileError("environment", [f"{error}: a table is given as JSON"]) from error
    except ValidationError as error:
        raise ConfigurationFileError(source, list(_lines(error))) from error
    if problems := list(_schedule_problems(configuration)):
        raise ConfigurationFileError(source, problems)
    return configuration


def _schedule_problems(configuration: Configuration) -> Iterator[str]:
    for name, automation in configuration.automations.items():
        if automation.schedule is not None:
            try:
                Schedule.read(automation.schedule, automation.timezone)
            except ScheduleError as error:
                yield f"automations.{name}.{error.key}: {error}"


def place_of(path: Sequence[str]) -> str:
    """Tell where a key is to be mended: in which variable, or in which line of which file."""
    for depth in range(len(path), 0, -1):
        variable = _PREFIX + _DELIMITER.join(path[:depth]).upper()
        if any(name.upper() == variable for name in os.environ):
            return variable
    file = configuration_file()
    return "environment" if file is None else _line(file, line_of(_text(file), path))


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
        place = ".".join(str(step) for step in entry["loc"] if step != "[key]")
        message = _SAID.get(entry["type"], entry["msg"].removeprefix("Value error, "))
        lines.append(f"{place}: {message}" if place else message)
    return lines


def _place(source: str, problem: str) -> str:
    if (said := _AT_LINE.search(problem)) is not None:
        return f"{source}:{said[1]}"
    key, colon, _ = problem.partition(": ")
    return place_of(key.split(".")) if colon and _KEYS.fullmatch(key) else source


def _line(file: Path, number: int | None) -> str:
    return str(file) if number is None else f"{file}:{number}"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
