"""fsr-doctor: what this machine has, what each command can do on it, and how to add what is missing."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy import __version__
from fsr_deploy._util.console import command, print_json
from fsr_deploy.errors import MissingError, UsageError, refuse_unknown
from fsr_deploy.runtime.checkup import JOBS, as_json, install_line, look_around, mend_lines, missing, tensorrt_faults


@command
def main(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="A bundle: what each command can do with it here.")
    ] = None,
    need: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="End with exit code 3 unless this part works (onnxruntime, GPU); repeatable."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings to stdout as JSON.")] = False,
) -> None:
    """Say what this machine has, what each command can do on it, and the one command that adds what is missing.

    \b
    fsr-doctor
    fsr-doctor --need onnxruntime
    fsr-doctor bundles/aminet
    """
    if bundle is not None:
        if need:
            raise UsageError("--need asks about this machine; leave BUNDLE out")
        _show_uses(bundle, json)
        return
    parts = look_around()
    for name in need or ():
        refuse_unknown("--need", name, tuple(part.name for part in parts))
    if broken := [part for part in parts if part.name in (need or ()) and not part.works]:
        raise MissingError("; ".join(f"{part.name}: {part.state}" for part in broken))
    if json:
        print_json(as_json(parts))
        return
    print(f"fsr-deploy {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for part in parts:
        print(f"  {part.name:<20}  {part.state}")
    print()
    for job in JOBS:
        lacking = missing(job, parts)
        print(f"  {job.command:<23}  {job.does}: {'no, it lacks ' + ', '.join(lacking) if lacking else 'yes'}")
    for fault in tensorrt_faults(parts):
        print(f"\nThis TensorRT has a known fault: {fault}")
    print()
    lines = mend_lines(parts)
    for line in lines:
        print(f"To mend what is broken: {line}")
    if line := install_line(parts):
        print(f"To add what is missing: {line}")
    elif not lines:
        print("Nothing that pip could add is missing.")


def _show_uses(bundle: Path, json: bool) -> None:
    from fsr_deploy.runtime.bundle_checkup import uses_of  # brings NumPy along, which may be broken

    uses = uses_of(bundle)
    if json:
        print_json({"bundle": str(bundle), "uses": [asdict(use) for use in uses]})
        return
    for use in uses:
        print(f"{use.command}: {use.does}\n    {'not here: ' + use.problem if use.problem else 'yes, here'}")


if __name__ == "__main__":
    main()
