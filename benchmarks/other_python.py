"""Another Python beside the one that runs: started as if this one were not there, and ended when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a Python that was unpacked somewhere needs to find itself, and what makes every other Python fail to.
OF_ONE_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "VIRTUAL_ENV")
LIBRARIES = "LD_LIBRARY_PATH"


def clean_environment(environment: Mapping[str, str] = os.environ, prefix: str = sys.prefix) -> dict[str, str]:
    """Return an environment without what belongs to the Python under ``prefix`` or PYTHONHOME.

    Folders of libraries that lie elsewhere stay: on some machines the driver is found by them alone.
    """
    homes = [Path(home).resolve() for home in (prefix, environment.get("PYTHONHOME", "").split(":")[0]) if home]
    homes = [home for home in homes if home not in (Path("/"), Path("/usr"))]  # a system's Python owns no folder alone
    kept = {name: value for name, value in environment.items() if name not in (*OF_ONE_PYTHON, LIBRARIES)}
    folders = [
        folder
        for folder in environment.get(LIBRARIES, "").split(":")
        if folder and not any(Path(folder).resolve().is_relative_to(home) for home in homes)
    ]
    return {**kept, LIBRARIES: ":".join(folders)} if folders else kept


def run_in(python: Path, arguments: list[str], seconds: float) -> str:
    """Run another Python in the checkout, its output where ours goes; return why it failed, "" where it did not.

    With its time over, it is ended together with all that it started.
    """
    try:
        process = subprocess.Popen(
            [str(python), *arguments],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{python} cannot be started: {error.strerror}"
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"{python} did not end within {seconds:g} s; what it had measured until then is kept"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return f"{python} ended with {code}" if code else ""
