"""A build in a process of its own, seen from inside: one request, its answer, and the end. See child.py."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from fsr_deploy._util.json_records import json_text
from fsr_deploy._util.log import LOGGER
from fsr_deploy.errors import FsrError
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.tensorrt import progress
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.child import STOP
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS


def main() -> None:
    """Read a request, build its plan and answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = _answers()
    given = json.loads(sys.stdin.readline())
    options = _options(given["options"])
    stoppable = not FLAVOURS[options.flavour].builds_anywhere  # there are timings to be kept
    threading.Thread(target=_heed_parent, args=(stoppable,), daemon=True).start()
    LOGGER.addHandler(_Passing(answers))
    LOGGER.setLevel("INFO")
    try:
        built = build_plan(
            Path(given["graph"]),
            given["precision"],
            tuple(given["batches"]),
            options,
            fp32_modules(given["precision_map"], given["io"]),
        )
        Path(given["plan"]).write_bytes(built.content)
        kernels = asdict(built.kernels) if built.kernels else None
        _answer(answers, "built", {"info": asdict(built.info), "seconds": built.seconds, "kernels": kernels})
    except FsrError as error:
        _answer(answers, "error", [type(error).__name__, str(error)])
    except KeyboardInterrupt:
        _answer(answers, "interrupted", None)
    # Some libraries break down while Python takes them apart; the answer has been given.
    os._exit(0)


class _Passing(logging.Handler):
    def __init__(self, answers: IO[str]) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        _answer(self._answers, "say" if record.levelname == "INFO" else "warn", record.getMessage())


def _answers() -> IO[str]:
    """Return the stream of answers; what a library prints to standard output goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: IO[str], kind: str, value: Any) -> None:
    answers.write(json_text([kind, value]) + "\n")
    answers.flush()


def _heed_parent(stoppable: bool) -> None:
    """End at the parent's word or its end: at TensorRT's next step where it can be stopped, otherwise at once."""
    if sys.stdin.readline() == STOP and stoppable:
        progress.stop.set()
        sys.stdin.readline()
    os._exit(1)


def _options(given: dict[str, Any]) -> PlanOptions:
    cache = given["timing_cache"]
    ranges = tuple(tuple(batches) for batches in given["profiles"])
    lists = {"profiles": ranges, "gpus": tuple(given["gpus"]), "timing_cache": Path(cache) if cache else None}
    return PlanOptions(**{**given, **lists})
