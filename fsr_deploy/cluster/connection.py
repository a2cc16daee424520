"""Ray: a cluster of one's own for the length of a run, or the way into one that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fsr_deploy._util import imports
from fsr_deploy._util.cores import usable_cores
from fsr_deploy.cluster.options import AUTO, LOCAL
from fsr_deploy.cluster.processes import descendants, end
from fsr_deploy.errors import InputError

OBJECT_STORE_BYTES = 1 << 27  # paths and what became of them: Ray's own choice would be a third of the memory

KNOCKING_SECONDS = 10.0

# Ray reads these when it is imported, here and in the processes that it starts.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a call after the end would start another cluster
}
# By itself a cluster listens on all of the machine's addresses. This is Ray's switch for systems where it must not.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Yield ``ray``, connected to a cluster; one that was started for this ends with the block.

    Raises MissingError without Ray, and InputError where there is no such cluster.
    """
    own = address == LOCAL
    if address not in (LOCAL, AUTO):
        _knock(address)
    os.environ.update(_ENVIRONMENT | (_LOOPBACK_ONLY if own else {}))
    ray = imports.load("ray")
    imports.load("ray.data")
    for name in ("ray", "ray.data"):
        for handler in logging.getLogger(name).handlers:
            handler.setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet_stdout())
        options: dict[str, Any] = {"address": address}
        if own:
            folder = tempfile.mkdtemp(prefix="fsr-ray-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            options |= {
                "num_cpus": usable_cores(),
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        stack.callback(_shut_down, ray, own)
        _start(ray, options, own)
        stack.enter_context(_ended_by_signals())
        yield ray


def _knock(address: str) -> None:
    """Raise InputError where nothing listens at HOST:PORT; Ray itself would try for a minute and more."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--cluster {address}: cannot be reached: {reason}") from error


def _start(ray: ModuleType, options: dict[str, Any], own: bool) -> None:
    """Connect to a cluster, or start one: twice if need be, because Ray gives a busy machine only 30 s."""
    for last in (not own, True):
        try:
            with _quiet_stderr():
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
            return
        except Exception as error:  # Ray raises any kind, plain Exception included
            if last:
                raise InputError(_no_cluster(options["address"], error)) from error
            _shut_down(ray, own)


def _shut_down(ray: ModuleType, own: bool) -> None:
    """Leave a cluster; all processes of one's own are gone then."""
    started = descendants(os.getpid()) if own else {}
    ray.shutdown()
    end(started)


def _no_cluster(address: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if address == AUTO:
        return f"--cluster auto: no cluster runs here ({reason}); start one with ray start --head, or give local"
    if address == LOCAL:
        return f"--cluster local: Ray does not start here: {reason} Run the command again, or without --cluster"
    return (
        f"--cluster {address}: cannot be reached: {reason}; if it asks for a token, as Ray's clusters do since 2.60, "
        "set RAY_AUTH_MODE=token, with the head node's ~/.ray/auth_token on this machine"
    )


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Drop what Ray prints to standard output, which is for results: actors that died, for instance."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what Ray's own library writes while it starts; what fails there is raised as well."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM end the block as Ctrl-C does, at once: what is under way on a cluster is not waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
