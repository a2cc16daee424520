"""The actor of Ray Data: tables of files in, tables of outcomes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fsr_deploy._util import imports
from fsr_deploy.cluster.messages import ErrorData, Facts, Given, Orders, Outcome
from fsr_deploy.cluster.status import table
from fsr_deploy.cluster.worker import Worker, fault, look
from fsr_deploy.errors import DeviceError, FsrError


class Actor:
    """A worker, made once in a process of its own. What hinders it is an outcome, so that the driver can say it."""

    def __init__(self, orders: Orders, facts: Facts, batches: Sequence[int]) -> None:
        context = imports.load("ray").get_runtime_context()
        self._fault: ErrorData | None = None
        try:
            self._worker = Worker(orders, facts, batches, context.was_current_actor_reconstructed)
        except DeviceError:
            _end()
        except FsrError as error:
            self._fault = ErrorData.of(error)

    def __call__(self, files: Any) -> Any:
        """Return the outcomes of a pyarrow.Table of ``Given``."""
        given = [Given(**row) for row in files.to_pylist()]
        if self._fault:
            outcomes = [fault(self._fault)]
        else:
            try:
                outcomes = self._worker.upscale(given)
            except DeviceError:
                _end()
        return table(Outcome, [asdict(outcome) for outcome in outcomes])


def look_at_engine(orders: Orders) -> Facts | ErrorData:
    """Return what runs on the first node, or why nothing does."""
    try:
        return look(orders)
    except FsrError as error:
        return ErrorData.of(error)


def _end() -> None:
    """End this process. A GPU that failed is lost to it; Ray starts another, which does the same files."""
    os._exit(1)
