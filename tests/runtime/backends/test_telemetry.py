"""What a library would tell its maker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.engines import write_onnx


def test_nothing_is_told_to_anybody_and_nothing_kept_for_it(tmp_path: Path) -> None:
    graph = write_onnx(tmp_path / "model.onnx")
    code = f"from fsr_deploy.runtime.open import open_session; open_session({str(graph)!r}, 'cpu').close()"
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    places = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    (tmp_path / "home").mkdir()
    subprocess.run([sys.executable, "-c", code], env={**kept, **places}, check=True)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
