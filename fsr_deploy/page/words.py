"""What the page says, as HTML: the engine and how it is proven, and what became of a picture or a film."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from fsr_deploy.bundle.info import BundleInfo
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.page.studio import Shown
from fsr_deploy.runtime.session import EngineInfo, engine_kind


def head(info: BundleInfo, engine: EngineInfo) -> str:
    """Return the head of the page: which engine this is, and how close it is to its network in PyTorch."""
    (h, w), (height, width) = engine.lr_shape, engine.sr_shape
    facts = f"{engine.precision.upper()} · {w}x{h} → {width}x{height} · {engine.engine} · {engine.device}"
    untrained = "" if info.trained else "<p class='fsr-bad'>Not trained: its weights are random, so are its faces.</p>"
    lines = "".join(f"<p>{escape(line)}</p>" for line in (facts, parity(info, engine)))
    return f"<div class='fsr-head'><h1>{escape(info.model)}</h1>{lines}{untrained}</div>"


def parity(info: BundleInfo, engine: EngineInfo) -> str:
    """Return how close the engine that runs was to its network in PyTorch, as the bundle has it."""
    rows = [row for row in info.parity if engine_kind(row["engine"]) == engine_kind(engine.engine)]
    if not rows:
        return f"Parity: not proven with {engine.engine}."
    known = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
    worst = f"{min(known):.1f} dB on the worst face" if known else "equal"
    levels = max(row["max_error"] for row in rows)
    verdict = "within its budget" if info.parity_passed else "OVER ITS BUDGET, published by force"
    return f"Parity with the network in PyTorch, FP32: {worst}, at most {levels:.3g} of 255 levels off; {verdict}."


def of_picture(shown: Shown) -> str:
    """Return what became of a picture."""
    height, width = shown.after.shape[:2]
    found = "taken as one face" if shown.faces is None else f"{len(shown.faces)} found, {shown.upscaled} upscaled"
    rows = [("Faces", found), ("Picture", f"{width}x{height} pixels in {_time(shown.seconds)}")]
    if shown.upscaled:
        in_all = f", {_time(shown.engine_seconds)} in all" if shown.upscaled > 1 else ""
        rows.insert(1, ("Engine", f"{_time(shown.engine_seconds / shown.upscaled)} a face{in_all}"))
    return _facts(rows, shown.notes)


def of_film(summary: FilmSummary) -> str:
    """Return what became of a film."""
    width, height = summary.video.size if summary.video else (0, 0)
    rows = [
        ("Frames", f"{summary.done} of {summary.total}, {width}x{height} pixels"),
        ("Time", f"{_time(summary.seconds / max(1, summary.done))} a frame, {_time(summary.seconds)} in all"),
    ]
    return _facts(rows, (*map(str, summary.failed), *summary.warnings, *summary.left_out))


def of_problem(sentence: str) -> str:
    """Return why there is no result."""
    return f"<div class='fsr-bad' role='alert'>{escape(sentence)}</div>"


def _facts(rows: Iterable[tuple[str, str]], notes: Iterable[str]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl class='fsr-facts'>{lines}</dl>" + "".join(f"<p>{escape(note)}</p>" for note in notes)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
