"""Try imports in a separate process: some broken libraries end Python itself, and fsr-doctor must survive that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fsr_deploy._util.imports import LIBRARIES, BrokenLibrary, Library, load
from fsr_deploy.errors import MissingError

SECONDS = 120


def try_imports(modules: Sequence[str]) -> dict[str, MissingError]:
    """Import modules of LIBRARIES one after another, and return what is wrong with those that cannot be imported."""
    found: dict[str, MissingError] = {}
    while modules:
        answers, end = _try(modules)
        found.update({module: error for module, error in answers.items() if error is not None})
        modules = modules[len(answers) :]
        if modules:  # the first of them ended the process
            found[modules[0]] = BrokenLibrary(LIBRARIES[modules[0]], f"importing it {end}")
            modules = modules[1:]
    return found


def _try(modules: Sequence[str]) -> tuple[dict[str, MissingError | None], str]:
    """Return the result for each module until the process ended, and how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__, *modules]
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=False
        )
        output, end = done.stdout, _how_it_ended(done.returncode)
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"takes more than {SECONDS} s"
    lines = [json.loads(line) for line in output.decode(errors="replace").splitlines() if line.startswith("{")]
    return {line["module"]: _error(line) for line in lines}, end


def _error(line: dict[str, Any]) -> MissingError | None:
    if line["library"]:  # not always the one that was imported: OpenCV may fail because NumPy is broken
        return BrokenLibrary(Library(**line["library"]), line["error"])
    return MissingError(line["error"]) if line["error"] else None


def _how_it_ended(code: int) -> str:
    return f"ends Python with {signal.Signals(-code).name}" if code < 0 else f"ends Python with code {code}"


def _answer(module: str) -> None:
    answer: dict[str, Any] = {"module": module, "error": "", "library": None}
    try:
        load(module)
    except BrokenLibrary as broken:
        answer |= {"error": broken.reason, "library": asdict(broken.library)}
    except MissingError as missing:
        answer |= {"error": str(missing)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _answer(name)
