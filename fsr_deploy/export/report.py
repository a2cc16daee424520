"""report.html: one page for a person who was not there: what was exported, how close it is, how fast, how to run it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from fsr_deploy.bundle import BundleInfo

_STYLE = """
:root { color-scheme: light dark; --ink: #181c24; --faint: #667085; --line: #e4e7ec; --paper: #fff; --tint: #f6f7f9;
  --good: #067647; --bad: #b42318; --warn: #93590a; --warn-tint: #fdf5e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --faint: #98a2b3; --line: #2d333f; --paper: #14171d;
  --tint: #1d2129; --good: #47cd89; --bad: #f97066; --warn: #fec84b; --warn-tint: #2c2614; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 40px 24px 64px; max-width: 920px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; }
h2 { margin: 40px 0 10px; font-size: 18px; }
.lead { margin: 4px 0 20px; color: var(--faint); }
.badge { display: inline-block; margin-left: 12px; padding: 2px 12px; border: 1px solid; border-radius: 99px;
  font-size: 14px; font-weight: 600; letter-spacing: 0; vertical-align: 5px; }
.good { color: var(--good); } .bad { color: var(--bad); }
.note { margin: 8px 0; padding: 10px 14px; border-left: 3px solid var(--warn); background: var(--warn-tint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 8px; }
.tile { padding: 12px 16px; border-radius: 8px; background: var(--tint); }
.tile b { display: block; font-size: 22px; letter-spacing: -0.01em; }
.tile span { color: var(--faint); font-size: 13px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--faint); font-size: 13px; font-weight: 600; }
td.number, th.number { text-align: right; }
img { display: block; width: 100%; border: 1px solid var(--line); border-radius: 6px; background: #fff; }
pre { margin: 8px 0; padding: 12px 14px; overflow-x: auto; border-radius: 6px; background: var(--tint); }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
"""

Cell = str | int | float | None


def report_page(info: BundleInfo, name: str, picture: bytes) -> str:
    """Return the page; ``name`` is the bundle's directory, ``picture`` parity.png's content. Refers to nothing else."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info.model)} {escape(info.precision)}: export report</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(info.model)} {escape(info.precision)}{_badge(info.parity_passed)}</h1>
<p class="lead">x{info.scale} face super-resolution, {_size(info.lr_size)} to {_size(info.lr_size * info.scale)}</p>
{_tiles(info)}
{"".join(f'<p class="note">{escape(note[:1].upper() + note[1:])}</p>' for note in _notes(info))}
{_section("Parity with the eager FP32 module", _budget(info), _parity(info))}
<p><img alt="Faces: LR, bicubic, eager, engine, and the difference times 20" src="{_data_uri(picture)}"></p>
{_section("Latency", _latency_lead(info), _latency(info))}
{_section("How to run it", "", _how_to(info, name))}
{_section("What was exported", "", _pairs(_facts(info)))}
{_section("Precision", _precision_lead(info), _precision(info))}
{_section("Versions", "", _pairs(info.versions.items()))}
</body>
</html>
"""


def _badge(passed: bool) -> str:
    kind, text = ("good", "within budget") if passed else ("bad", "over budget, published by force")
    return f'<span class="badge {kind}">{text}</span>'


def _tiles(info: BundleInfo) -> str:
    """Return the figures that are looked for first: the worst of all rows, and the speed at the best batch."""
    psnrs = [row["psnr_db"] for row in info.parity if row["psnr_db"] is not None]
    tiles = [
        (f"{min(psnrs):.1f} dB" if psnrs else "equal", "PSNR against eager, worst face"),
        (f"{max(row['max_error'] for row in info.parity):.0f} of 255", "largest error in levels"),
    ]
    if turns := info.latency.get("rows"):
        tiles.append((f"{turns[-1]['speedup']:.2f}x", f"as fast as eager, batch {turns[-1]['batch']}"))
        tiles.append((f"{1000 * turns[-1]['batch'] / turns[-1]['engine_ms']:.0f} faces/s", "engine, this machine"))
    cells = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _notes(info: BundleInfo) -> Iterable[str]:
    """Return what a reader must not miss."""
    if not info.trained:
        yield "Untrained weights: the faces mean nothing. Export with --checkpoint for a network that was trained."
    yield from info.notes
    if info.latency.get("note"):
        yield info.latency["note"]


def _budget(info: BundleInfo) -> str:
    least, most = info.budget.get("min_psnr_db"), info.budget.get("max_levels")
    parts = [f"at least {least:g} dB in the worst face" if least is not None else ""]
    parts.append(f"no value more than {most:g} of 255 levels off" if most is not None else "")
    return f"Budget: {' and '.join(filter(None, parts)) or 'finite values'}. PSNR and SSIM are those of the worst face."


def _parity(info: BundleInfo) -> str:
    headers = ("Engine", "Batch", "PSNR, dB", "SSIM", "Largest error", "Mean error", "Off by > 1 level")
    rows = [
        (
            row["engine"],
            row["batch"],
            "equal" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}",
            f"{row['ssim']:.5f}",
            f"{row['max_error']:.2f}" if row["finite"] else "NaN or Inf",
            f"{row['mean_error']:.4f}",
            f"{100 * row['share_off']:.3f} %",
        )
        for row in info.parity
    ]
    return _table(headers, rows)


def _latency_lead(info: BundleInfo) -> str:
    if not info.latency:
        return "Not measured."
    return f"{info.latency['engine']} against {info.latency['eager']}, LR faces in, SR faces out, median of turns."


def _latency(info: BundleInfo) -> str:
    rows = [
        (row["batch"], f"{row['engine_ms']:.1f}", f"{row['eager_ms']:.1f}", f"{row['speedup']:.2f}x")
        for row in info.latency.get("rows", ())
    ]
    return _table(("Batch", "Engine, ms", "Eager, ms", "Speed-up"), rows) if rows else ""


def _how_to(info: BundleInfo, name: str) -> str:
    if info.io == "float":
        tensor = f"(N, 3, {info.lr_size * info.scale}, {info.lr_size * info.scale}) float32 RGB in [-1, 1]"
        return f"<p>The bare network: {tensor} in and out, the upsampled LR face to the SR face. Run model.onnx.</p>"
    return f"<pre>fsr-run {escape(name)} frames/ -o upscaled/\nfsr-export --rebuild {escape(name)}</pre>" + (
        "<p>The second command builds the TensorRT plan on the machine whose GPU will run it.</p>"
    )


def _facts(info: BundleInfo) -> Iterable[tuple[str, Cell]]:
    def tensor(value: Any) -> str:
        return f"{value.name}: {value.dtype} [{', '.join(map(str, value.shape))}]"

    yield "Model", info.model
    if info.options:
        yield "Options", ", ".join(f"{key} = {value}" for key, value in info.options.items())
    yield "Weights", f"SHA-256 {info.checkpoint_sha256}" if info.checkpoint_sha256 else "untrained"
    yield "Input", f"{', '.join(map(tensor, info.inputs))}, {info.color}"
    yield "Output", f"{', '.join(map(tensor, info.outputs))}, {info.color}"
    yield "Batch", f"{info.batches[0]} to {info.batches[2]}, best at {info.batches[1]}"
    if info.plan:
        yield "Plan", f"TensorRT {info.plan.tensorrt} on {info.plan.gpu} ({info.plan.compute_capability})"


def _precision_lead(info: BundleInfo) -> str:
    if not info.precision_map:
        return f"Every module computes in {info.precision}."
    return f"All modules compute in {info.precision}, except these."


def _precision(info: BundleInfo) -> str:
    """Return a table with one row for each reason, so that a long map stays readable."""
    groups: dict[tuple[str, str], list[str]] = {}
    for module, kept in info.precision_map.items():
        groups.setdefault((kept["precision"], kept["reason"]), []).append(module)
    rows = [(precision, reason, ", ".join(modules)) for (precision, reason), modules in groups.items()]
    return _table(("Precision", "Why", "Modules"), rows) if rows else ""


def _section(title: str, lead: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>" + (f'<p class="lead">{escape(lead)}</p>' if lead else "") + body


def _pairs(pairs: Iterable[tuple[str, Cell]]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in pairs)
    return f'<div class="scroll"><table>{rows}</table></div>'


def _table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table whose columns of figures are aligned on the right."""
    numeric = [all(_is_figure(row[column]) for row in rows) for column in range(len(headers))]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(classes, headers, strict=True))
    lines = (
        "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(classes, row, strict=True)) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _is_figure(cell: Cell) -> bool:
    return not isinstance(cell, str) or cell[:1].isdigit() or cell == "equal"


def _size(side: int) -> str:
    return f"{side}x{side}"


def _data_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
