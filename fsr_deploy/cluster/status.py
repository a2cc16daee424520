"""The table of a run on a cluster: a row for each file, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fsr_deploy._util import imports
from fsr_deploy._util.files import replaced_file

NAME = ".fsr-run.parquet"
DONE = "done"
LEFT = "left"


@dataclass(frozen=True)
class FileStatus:
    """What became of a file: done, done before, failed (and the reason) or left, because the run ended before.

    ``bytes`` and ``sha256`` are those of the output, ``seconds`` from reading to writing, ``device`` which one of which
    node.
    """

    path: str
    status: str
    reason: str
    output: str | None
    sha256: str | None
    bytes: int | None
    seconds: float | None
    device: str | None


def write_status(folder: Path, rows: Sequence[FileStatus]) -> Path:
    r"""Write the table of a run into its folder and return its path; raises InputError where that is impossible.

    Bytes of names that are not text are written as \xff.
    """
    parquet = imports.load("pyarrow.parquet")
    path = folder / NAME
    with replaced_file(path, flush=False) as temporary:
        parquet.write_table(
            table(FileStatus, [{name: _text(value) for name, value in asdict(row).items()} for row in rows]), temporary
        )
    return path


def table(kind: type, rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows as a pyarrow.Table with a column for each field of a dataclass."""
    arrow = imports.load("pyarrow")
    types = {
        "str": arrow.string(),
        "bytes": arrow.binary(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
    }
    columns = [(one.name, types[str(one.type).removesuffix(" | None")]) for one in fields(kind)]
    return arrow.Table.from_pylist(list(rows), arrow.schema(columns))


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(f"\\x{ord(one) - 0xDC00:02x}" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in value)
