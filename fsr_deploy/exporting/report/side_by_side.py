"""The report's part about precisions, or candidates for the fastest engine, that were measured side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fsr_deploy._util.html_page import section, table
from fsr_deploy._util.svg import Mark, quality_plot
from fsr_deploy.bundle.info import BundleInfo

TITLE = "Precisions side by side"


def side_by_side_section(info: BundleInfo) -> str:
    """Return the part, empty where nothing was measured side by side."""
    if not info.precisions:
        return ""
    return _candidates(info.precisions) if "outcome" in info.precisions[0] else _precisions(info.precisions)


def _precisions(compared: Sequence[Mapping[str, Any]]) -> str:
    rows = [(row["precision"], row["batch"], f"{row['ms']:.1f}", _psnr(row)) for row in compared]
    lead = (
        "The same network on the machine of the export: least time of several turns, and PSNR against eager in the "
        "worst face."
    )
    return section(TITLE, lead, table(("Precision", "Batch", "ms", "PSNR, dB"), rows))


def _candidates(compared: Sequence[Mapping[str, Any]]) -> str:
    timed = [row for row in compared if row["ms"] is not None]
    marks = [
        Mark(at, _name(row), row["ms"], row["psnr_db"], (row["low_ms"], row["high_ms"])) for at, row in enumerate(timed)
    ]
    faces = timed[0]["batch"] if timed else 1
    many = "many at the same time" if timed and timed[0]["goal"] == "throughput" else "at a time"
    rows = [
        (
            row["precision"],
            row["engine"],
            "" if row["ms"] is None else f"{row['ms']:.1f} [{row['low_ms']:.1f}, {row['high_ms']:.1f}]",
            "" if row["ms"] is None else f"{1000 * row['batch'] / row['ms']:.1f}",
            _psnr(row) if row["measured"] else "",
            row["outcome"] + (", left early" if row["left_early"] else ""),
        )
        for row in compared
    ]
    lead = (
        f"The candidates for the fastest engine on the machine of the export, {faces} face{'s' * (faces > 1)} {many}: "
        "medians and intervals of 95 % of turns in one run, and PSNR against eager in the worst face. What left early "
        "could not win any more."
    )
    plot = quality_plot(marks, f"milliseconds, {faces} face{'s' * (faces > 1)}") if marks else ""
    headers = ("Precision", "Engine", f"ms, {faces} face{'s' * (faces > 1)}", "Faces/s", "PSNR, dB", "Outcome")
    return section("Candidates side by side", lead, plot + table(headers, rows))


def _name(row: Mapping[str, Any]) -> str:
    library = str(row["engine"]).partition(" (")[0].rpartition(" ")[0]
    return f"{row['precision']}, {library}{' (published)' if row['outcome'] == 'published' else ''}"


def _psnr(row: Mapping[str, Any]) -> str:
    return "equal" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}"
