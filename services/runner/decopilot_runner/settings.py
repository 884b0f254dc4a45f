"""What the runner is told beyond what every service is."""

import tempfile
from pathlib import Path

from pydantic import Field

from decopilot.kit.settings import Settings
from decopilot_runner.checking import RUN_BYTES

DEMO_DIR = Path(tempfile.gettempdir()) / "decopilot-demo"


class RunnerSettings(Settings):
    """Settings of the runner.

    What the tools of the `demo` model write lands in `demo_dir`. After `attempts` that died a run ends as `crashed`.
    An attempt that writes more than `run_bytes` fails its run: what is shown and gone counts, too.
    With `questions_wait` a run whose answer ends with a question waits for the user (`requires_action`).
    """

    demo_delay_ms: int = Field(default=20, ge=0, le=10_000)
    demo_dir: Path = DEMO_DIR
    titles_at_once: int = Field(default=4, ge=1, le=100)
    runs_at_once: int = Field(default=32, ge=1, le=1_000)
    attempts: int = Field(default=3, ge=1, le=100)
    run_bytes: int = Field(default=RUN_BYTES, ge=1 << 16)
    questions_wait: bool = True
