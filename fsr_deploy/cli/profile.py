"""fsr-profile: how fast engines are on this machine, with intervals, and where their time goes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy._util.console import command, print_json, show
from fsr_deploy._util.log import say, warn
from fsr_deploy.errors import ExitCode, UsageError

AGAINST = "eager, channels-last, compile, compile-bf16, autocast-bf16, onnxruntime, openvino, openvino-bf16"


@command
def main(
    engines: Annotated[list[Path] | None, typer.Argument(help="Bundles, ONNX files, plans.")] = None,
    against: Annotated[str, typer.Option(metavar="NAME,...", help=f"Compare with: {AGAINST}.")] = "",
    batches: Annotated[str, typer.Option(metavar="N,...", help="Batch sizes.")] = "1,2,4,8,16,32",
    seconds: Annotated[float, typer.Option(min=0.1, help="Time to measure per engine and batch size.")] = 5.0,
    layers: Annotated[bool, typer.Option("--layers", help="Time by module of the network too.")] = False,
    budget_ms: Annotated[
        float | None, typer.Option(min=0, help="Find the best batch whose p99 is within so many milliseconds.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="OLD NEW", help="Compare two profile.json instead; exit 5 if anything became slower."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, or openvino:NAME (CPU, GPU, NPU).")] = "auto",
    backend: Annotated[str | None, typer.Option(help="onnxruntime, openvino or openvino-bf16.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Load plans without a bundle, which can run code.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for profile.html, profile.md and profile.json.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the profile to stdout as JSON.")] = False,
) -> ExitCode:
    """Measure the latency of ENGINES on this machine, each next to the others in one run.

    \b
    fsr-profile aminet-fp32 -o report
    fsr-profile aminet-fp32 aminet-fp16 --against eager,openvino --batches 1,8 --layers --budget-ms 50 -o report
    fsr-profile --compare before/profile.json after/profile.json
    """
    if compare is not None:
        if engines:
            raise UsageError("--compare takes two profiles and measures nothing; leave ENGINES out")
        return _compare(*compare, json=json)
    if not engines:
        raise UsageError("name one or more ENGINES to measure, or two profiles to --compare")
    from fsr_deploy.profiling.profile import profile
    from fsr_deploy.profiling.report.page import markdown, write

    measured = profile(
        engines,
        against=[name.strip() for name in against.split(",") if name.strip()],
        batches=_sizes(batches),
        seconds=seconds,
        layers=layers,
        budget_ms=budget_ms,
        device=device,
        backend=backend,
        trust=trust,
    )
    if output is not None:
        write(measured, output)
        say(f"written: {output / 'profile.html'}, profile.md and profile.json")
    if json:
        print_json(asdict(measured))
    else:
        show(markdown(measured))
    return ExitCode.DONE


def _sizes(batches: str) -> list[int]:
    parts = batches.split(",")
    sizes = [int(part) for part in parts if part.strip().isdecimal()]
    if len(sizes) != len(parts) or 0 in sizes:
        raise UsageError(f"--batches {batches}: not numbers from 1 with commas, for example 1,8,32")
    return sizes


def _compare(old: Path, new: Path, *, json: bool) -> ExitCode:
    """Say what changed; a regression ends with the exit code of a figure that is over its bounds."""
    from fsr_deploy.profiling.compare import compare_files

    comparison = compare_files(old, new)
    for line in comparison.circumstances:
        warn(f"not measured under the same circumstances: {line}")
    if json:
        print_json(comparison.as_dict())
    else:
        show(str(comparison))
    return ExitCode.PARITY if comparison.slower else ExitCode.DONE


if __name__ == "__main__":
    main()
