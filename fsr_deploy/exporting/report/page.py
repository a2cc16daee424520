"""report.html: one page for a person who was not there: what was exported, how close it is, how fast, how to run it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fsr_deploy._util import svg
from fsr_deploy._util.html_page import Cell, document, notes, pairs, section, table, tiles
from fsr_deploy._util.sizes import by
from fsr_deploy.bundle.info import INT8_BF16, MIXES, NOT_PROVEN, TARGET_TITLES, BundleInfo
from fsr_deploy.exporting.precision.search import ITSELF
from fsr_deploy.exporting.proof.verdict import PLAN, recorded_rows, worst_rows
from fsr_deploy.exporting.report.kernel_table import kernels_section
from fsr_deploy.exporting.report.side_by_side import side_by_side_section


def report_page(info: BundleInfo, name: str, picture: bytes) -> str:
    """Return the page, which refers to nothing else.

    ``name`` is the bundle's directory, ``picture`` parity.png's content, empty for none.
    """
    body = f"""
<h1>{escape(info.model)} {escape(info.precision)}{_badge(info.parity_passed)}</h1>
<p class="lead">x{info.scale} face super-resolution, {by(info.lr_size)} to {by(info.sr_shape)}</p>
{_tiles(info)}
{notes(_notes(info))}
{section("Parity with the eager FP32 module", _budget(info), _parity(info))}
{_picture(picture)}
{section("Latency", _latency_lead(info), _latency(info))}
{side_by_side_section(info)}
{_analysis(info)}
{kernels_section(info)}
{section("How to run it", "", _how_to(info, name))}
{section("What was exported", "", pairs(_facts(info)))}
{section("Precision", _precision_lead(info), _precision(info))}
{section("Versions", "", pairs(info.versions.items()))}
"""
    return document(f"{info.model} {info.precision}: export report", body, svg.STYLE)


def _badge(passed: bool) -> str:
    kind, text = ("good", "within budget") if passed else ("bad", "over budget, published by force")
    return f'<span class="badge {kind}">{text}</span>'


def _tiles(info: BundleInfo) -> str:
    """Return the figures that are looked for first: the worst of all rows, and the speed at the best batch."""
    parities = [row.parity for row in recorded_rows(info)]
    psnrs = [parity.psnr_db for parity in parities if parity.psnr_db is not None]
    figures = [
        (f"{min(psnrs):.1f} dB" if psnrs else "equal", "PSNR against eager, worst face"),
        (f"{max((parity.max_error for parity in parities), default=0):.0f} of 255", "largest error in levels"),
    ]
    if turns := info.latency.get("rows"):
        figures.append((f"{turns[-1]['speedup']:.2f}x", f"as fast as eager, batch {turns[-1]['batch']}"))
        speed = f"{1000 * turns[-1]['batch'] / turns[-1]['engine_ms']:.0f} faces/s"
        figures.append((speed, f"{info.latency['engine']}, on the machine of the export"))
    return tiles(figures)


def _notes(info: BundleInfo) -> Iterable[str]:
    """Return what a reader must not miss."""
    if not info.trained:
        yield "Untrained weights: the faces mean nothing. Export with --checkpoint for a network that was trained."
    if info.plan and not info.plan.proven:
        yield f"engine.plan is {NOT_PROVEN}"
    yield from info.notes
    if info.latency.get("note"):
        yield info.latency["note"]


def _budget(info: BundleInfo) -> str:
    least, most, loss = (info.budget.get(name) for name in ("min_psnr_db", "max_levels", "max_loss_db"))
    parts = [f"at least {least:g} dB in the worst face" if least is not None else ""]
    parts.append(f"no value more than {most:g} of 255 levels off" if most is not None else "")
    parts.append(f"at most {loss:g} dB lost against the truth" if loss is not None else "")
    text = f"Budget: {' and '.join(filter(None, parts)) or 'finite values'}. PSNR and SSIM are those of the worst face."
    if _knows_truth(info):
        text += " What is lost against the truth is the mean over the faces of the largest batch."
    if any(", rounded to " in row.engine for row in recorded_rows(info)):
        half = "fp16" if info.precision in MIXES else info.precision
        text += f" A CPU leaves roundings of results to {half} out that a GPU makes; the rounded rows have them all."
    if worst := worst_rows(info):
        text += " That is an optimistic model: TensorRT may round the sums inside an operation too."
        text += f" The row of {worst[0].engine} has such sums everywhere; no budget holds for it."
    return text


def _parity(info: BundleInfo) -> str:
    headers = ["Engine", "Batch", "PSNR, dB", "SSIM", "Largest error", "Mean error", "Off by > 1 level"]
    headers += ["Lost on the truth, dB"] if _knows_truth(info) else []
    rows = [
        (
            row.engine,
            row.batch,
            "equal" if row.parity.psnr_db is None else f"{row.parity.psnr_db:.2f}",
            f"{row.parity.ssim:.5f}",
            f"{row.parity.max_error:.2f}" if row.parity.finite else "NaN or Inf",
            f"{row.parity.mean_error:.4f}",
            f"{100 * row.parity.share_off:.3f} %",
            "" if row.parity.loss_db is None else f"{row.parity.loss_db:+.3f}",
        )[: len(headers)]
        for row in (*recorded_rows(info), *worst_rows(info))
    ]
    return table(headers, rows)


def _knows_truth(info: BundleInfo) -> bool:
    return any(row.parity.loss_db is not None for row in recorded_rows(info))


def _plan_is_untimed(info: BundleInfo) -> bool:
    """Tell whether the times are those of the graph, from before its plan was built on another machine."""
    return info.plan is not None and not str(info.latency.get("engine", "")).startswith(PLAN)


def _latency_lead(info: BundleInfo) -> str:
    plan = " The plan has not been timed: fsr-profile does that." if _plan_is_untimed(info) else ""
    if not info.latency:
        return f"Not measured.{plan}"
    engines = f"{info.latency['engine']} against {info.latency['eager']}"
    where = info.latency.get("machine", "the machine of the export")
    return f"{engines} on {where}, LR faces in, SR faces out, in turns: medians.{plan}"


def _latency(info: BundleInfo) -> str:
    rows = [
        (
            row["batch"],
            f"{row['engine_ms']:.1f}",
            f"{row['eager_ms']:.1f}",
            f"{row['speedup']:.2f}x",
            f"{row['slowest']:.2f} to {row['fastest']:.2f}",
        )
        for row in info.latency.get("rows", ())
    ]
    return table(("Batch", "Engine, ms", "Eager, ms", "Speed-up", "Its spread"), rows) if rows else ""


def _analysis(info: BundleInfo) -> str:
    """Return the modules by damage, each with a bar and its share of time, empty where they were not analysed."""
    if not info.analysis:
        return ""
    lead = f"Each block alone in {info.precision}, the most damaging first; a longer bar is a larger error."
    if any(row["share"] is not None for row in info.analysis):
        lead += " On the right its share of the engine's time where it was exported, without that of the blocks inside."
    errors = [0.0 if row["psnr_db"] is None else 10 ** (-row["psnr_db"] / 20) for row in info.analysis]
    largest = max(errors) or 1.0
    step, width = 20, 820
    bars = "".join(
        f'<text x="0" y="{step * index + 14}">{escape(row["module"] or ITSELF)} ({escape(row["kind"])})</text>'
        f'<rect x="420" y="{step * index + 4}" width="{240 * error / largest:.1f}" height="12"/>'
        f'<text x="{426 + 240 * error / largest:.1f}" y="{step * index + 14}">{_decibels(row)}</text>'
        f'<text x="{width}" y="{step * index + 14}" text-anchor="end">{_share(row["share"])}</text>'
        for index, (row, error) in enumerate(zip(info.analysis, errors, strict=True))
    )
    height = step * len(info.analysis)
    plot = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-size="12">{bars}</svg>'
    return section("What the precision does to each block", lead, plot)


def _decibels(row: Mapping[str, Any]) -> str:
    if not row.get("finite", True):
        return "NaN or Inf"
    return "equal" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB"


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _how_to(info: BundleInfo, name: str) -> str:
    if info.io == "float":
        height, width = info.sr_shape
        tensor = f"(N, 3, {height}, {width}) float32 RGB in [-1, 1]"
        return f"<p>The bare network: {tensor} in and out, the upsampled LR face to the SR face. Run model.onnx.</p>"
    run = f"fsr-run {escape(name)} frames/ -o upscaled/"
    if info.graph_target != "tensorrt":
        return f"<pre>{run}</pre><p>For a plan on a GPU export the network again with --target tensorrt.</p>"
    return f"<pre>{run}\nfsr-export --rebuild {escape(name)}</pre>" + (
        "<p>The second command builds the TensorRT plan on the machine whose GPU will run it.</p>"
    )


def _facts(info: BundleInfo) -> Iterable[tuple[str, Cell]]:
    def tensor(value: Any) -> str:
        return f"{value.name}: {value.dtype} [{', '.join(map(str, value.shape))}]"

    yield "Model", info.model
    if info.options:
        yield "Options", ", ".join(f"{key} = {value}" for key, value in info.options.items())
    entry = f", entry {info.checkpoint_entry}" if info.checkpoint_entry else ""
    yield "Weights", f"SHA-256 {info.checkpoint_sha256}{entry}" if info.checkpoint_sha256 else "untrained"
    yield "Input", f"{', '.join(map(tensor, info.inputs))}, {info.color}"
    yield "Output", f"{', '.join(map(tensor, info.outputs))}, {info.color}"
    yield "Graph written for", TARGET_TITLES[info.graph_target]
    yield "Batch", f"{info.batches[0]} to {info.batches[2]}, best at {info.batches[1]}"
    if info.plan:
        where = ", ".join(info.plan.gpus) or f"{info.plan.gpu} ({info.plan.compute_capability})"
        yield "Plan", f"{info.plan.library} for {where}{'' if info.plan.proven else '; not proven'}"


def _precision_lead(info: BundleInfo) -> str:
    if info.precision in MIXES:
        bits, half = info.precision.upper().split("+")
        return f"Convolutions compute in {bits} and everything else in {half}, except these."
    if info.precision == INT8_BF16:
        return "Convolutions compute in int8 and everything else in bf16, except these, which are in bf16 too."
    if not info.precision_map:
        return f"Every module computes in {info.precision}."
    nested = any(kept["precision"] == info.precision for kept in info.precision_map.values())
    inside = " A module inside another one has a precision of its own where it is listed too." if nested else ""
    return f"All modules compute in {info.precision}, except these.{inside}"


def _precision(info: BundleInfo) -> str:
    """Return a table with one row for each reason, so that a long map stays readable."""
    groups: dict[tuple[str, str], list[str]] = {}
    for module, kept in info.precision_map.items():
        groups.setdefault((kept["precision"], kept["reason"]), []).append(module or ITSELF)
    rows = [(precision, reason, ", ".join(modules)) for (precision, reason), modules in groups.items()]
    return table(("Precision", "Why", "Modules"), rows) if rows else ""


def _picture(content: bytes) -> str:
    if not content:
        return ""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<p><img alt="Faces: LR, bicubic, eager, engine, and the difference times 20" src="{source}"></p>'
