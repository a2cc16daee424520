"""fsr-demo as a process of its own, and a browser to look at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A page that is up; ``folder`` holds what it has written: tmp, home and, as its working directory, cwd."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def files(self) -> list[str]:
        """What of the page's is on the disk now: ONNX Runtime's own files, which it makes anywhere, are left out."""
        places = (self.folder / "cwd", self.folder / "tmp", self.folder / "home")
        paths = [path for place in places for path in place.rglob("*") if path.is_file()]
        return [str(path) for path in paths if path.name != ".ses" and ".onnxruntime" not in path.parts]

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the process; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def demo(folder: Path, *words: str) -> Iterator[Server]:
    """Run the installed fsr-demo on a free port of loopback until the block ends."""
    for name in ("cwd", "tmp", "home"):
        (folder / name).mkdir(parents=True)
    command = Path(sysconfig.get_path("scripts")) / "fsr-demo"
    environment = {
        **os.environ,
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder / "home"),
        "GRADIO_HEARTBEAT_INTERVAL": "0.5",  # how soon the server sees that a visitor has gone
    }
    with (folder / "log").open("wb") as log:
        call = [str(command), *words, "--port", "0"]
        process = subprocess.Popen(call, cwd=folder / "cwd", env=environment, stdout=log, stderr=log)
    try:
        yield Server(_url(process, folder / "log"), folder, process)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise RuntimeError(f"no page:\n{log.read_text()}")


@contextmanager
def browser() -> Iterator[Any]:
    """Run a headless Chromium: the one of playwright, or the system's; yields None where there is neither."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        names = (own, "chromium", "chromium-browser", "google-chrome")
        path = next((found for name in names if (found := shutil.which(name))), None)
        if path is None:
            yield None
            return
        opened = playwright.chromium.launch(executable_path=path)
        try:
            yield opened
        finally:
            opened.close()
