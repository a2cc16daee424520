"""What a build is doing: a line now and then where TensorRT tells (10 and later), and a way to end it between steps."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fsr_deploy._util.log import PLAIN_PROGRESS_SECONDS, say
from fsr_deploy.runtime.tensorrt.flavour import named

if TYPE_CHECKING:
    import tensorrt

stop = threading.Event()  # set to end this process's build at its next step


def watch(trt: ModuleType, config: tensorrt.IBuilderConfig) -> Any:
    """Report a build's phases while it runs; returns the monitor (None on TensorRT 8), which must outlive the build.

    Ctrl-C, and ``stop``, end the build at its next step and set the monitor's ``interrupted``.
    """
    if not hasattr(trt, "IProgressMonitor"):
        say(f"{named(trt)} builds the plan; this takes minutes and it does not tell how many")
        return None
    monitor = _monitor(trt)
    config.progress_monitor = monitor
    return monitor


def _monitor(trt: ModuleType) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}
            self._shown = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not pass through TensorRT's frames.
            try:
                self._show(phase_name, step)
            except KeyboardInterrupt:
                self.interrupted = True
            self.interrupted = self.interrupted or stop.is_set()
            return not self.interrupted

        def _show(self, phase: str, step: int) -> None:
            now = time.monotonic()
            if now - self._shown >= PLAIN_PROGRESS_SECONDS:
                self._shown = now
                say(f"building the plan: {phase}, step {step + 1} of {self._steps.get(phase, step + 1)}")

    return Monitor()
