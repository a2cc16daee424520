"""What the tests of fsr-run share: a folder to run in, the command, and what it left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fsr_deploy.cli.run import main
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from tests.engines import write_onnx

COMMAND = (sys.executable, "-m", "fsr_deploy.cli.run")
COUNT = 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine and frames in PNG and JPEG, some below a sub-folder; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"))
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        name = f"faces/sub/{index:02}.png" if index % 3 else f"faces/{index:02}.png"
        write_frame(name, rng.integers(0, 256, (4, 4, 3), np.uint8))
    return tmp_path


def fsr_run(*arguments: object, stdin: str | bytes | None = None) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def succeed(*arguments: object, stdin: str | bytes | None = None) -> Any:
    result = fsr_run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def error(result: Any) -> str:
    """Return the message that a failed command ended with."""
    return result.stderr.partition("error: ")[2].strip()


@contextmanager
def without_root(folder: Path) -> Iterator[None]:
    """Drop what lets root read and write everything; whoever is left may use pytest's folder."""
    if os.geteuid():
        yield
        return
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def contents(folder: str | Path) -> dict[str, bytes]:
    """Return all files below a folder but the journal."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != JOURNAL]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
