"""Importing what the configuration names by `package.module:name`: agents, tools."""

import difflib
import importlib
import sys
import traceback
from pathlib import Path

from decopilot.kit.configuration import configuration_file
from decopilot.kit.program import ConfigurationError


class ImportPathError(ConfigurationError):
    """What an import path of the configuration names can't be had, or is not what is wanted there."""

    def __init__(self, what: str, path: str, why: str) -> None:
        self.what, self.path, self.why = what, path, why
        super().__init__(f"{what} {path}: {why}")


def imported(what: str, path: str) -> object:
    """Import; modules beside the configuration file and in the working folder are found. `what` is for the error.

    Raises:
        ImportPathError: there is no such module or name in it, or the module's own code failed.

    """
    _look_beside_the_file()
    module, _, name = path.partition(":")
    try:
        found: object = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # Whatever somebody else's module does when it is imported, its operator is to read what.
        raise ImportPathError(what, path, _why(error, module)) from error
    for step in name.split("."):
        if not hasattr(found, step):
            near = difflib.get_close_matches(step, [known for known in dir(found) if not known.startswith("_")], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ImportPathError(what, path, f"there is no {step} in {module}{hint}")
        found = getattr(found, step)
    return found


def _look_beside_the_file() -> None:
    file = configuration_file()
    for folder in (Path.cwd(), *(() if file is None else (file.resolve().parent,))):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _why(error: BaseException, module: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name} in {Path.cwd()}, nor among the installed packages"
    if isinstance(error, SystemExit):
        return "the module ends the program when it is imported"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return said
    # Where the module's own code failed: Python's import system is of no interest.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen ")]
    where = frames[-1] if frames else None
    if where is None or where.filename in {__file__, importlib.__file__}:
        return said
    return f"{said} ({where.filename}, line {where.lineno})"
