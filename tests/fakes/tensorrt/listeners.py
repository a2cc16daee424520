"""The classes that a user of TensorRT extends: what it logs, how long layers take, how far a build is."""

from __future__ import annotations

from typing import Any

LISTENERS = ("ILogger", "IProfiler", "IProgressMonitor")


class ILogger:
    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError
