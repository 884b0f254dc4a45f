"""Fault points: a process that kills or stops itself right before a named function, once.

`FAULT=module:Class.function:SIGKILL` with `FAULT_ONCE=<path>`, a file that is made when it strikes: of several
processes that were told so one is hit.
"""

import importlib
import os
import signal
from pathlib import Path
from typing import Any


def arm() -> None:
    """Set the fault that the environment names, if it names one."""
    told = os.environ.get("FAULT")
    if told is None:
        return
    module, name, number = told.split(":")
    owner_name, function_name = name.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    function = getattr(owner, function_name)
    once = Path(os.environ["FAULT_ONCE"])

    async def struck(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  in the place of any function
        try:
            once.touch(exist_ok=False)  # noqa: ASYNC240  the process is about to stop anyway
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.Signals[number])
        return await function(*args, **kwargs)

    setattr(owner, function_name, struck)
