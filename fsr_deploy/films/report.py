"""What was wrong with a finished film, kept beside it, so that a later run can say it again without decoding."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fsr_deploy._util.files import write_file
from fsr_deploy._util.json_records import decode, read_json
from fsr_deploy.errors import InputError
from fsr_deploy.films.bad import BadPart

NAME = "report.json"


@dataclass(frozen=True)
class Report:
    """How many frames a new film has, and what was wrong with the old one."""

    frames: int
    failed: list[BadPart]


def write_report(folder: Path, report: Report) -> None:
    """Keep a report."""
    write_file(folder / NAME, json.dumps(asdict(report)).encode())


def read_report(folder: Path, total: int) -> Report:
    """Return the report of a finished film; without one, all of its frames are there and nothing was wrong."""
    with suppress(InputError, OSError, TypeError):
        found = decode(Report, read_json(folder / NAME), "")
        if isinstance(found, Report):
            return found
    return Report(total, [])
