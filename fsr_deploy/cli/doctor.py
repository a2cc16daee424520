"""fsr-doctor: what this machine has, what each command can do on it, and how to add what is missing."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from fsr_deploy import __version__
from fsr_deploy._util.console import command, print_json
from fsr_deploy.runtime.checkup import JOBS, as_json, install_line, look_around, mend_lines, missing, tensorrt_faults


@command
def main(
    json: Annotated[bool, typer.Option("--json", help="Print the findings to stdout as JSON.")] = False,
) -> None:
    """Say what this machine has, what each command can do on it, and the one command that adds what is missing.

    \b
    fsr-doctor
    fsr-doctor --json
    fsr-doctor --json | jq .install
    """
    parts = look_around()
    if json:
        print_json(as_json(parts))
        return
    print(f"fsr-deploy {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for part in parts:
        print(f"  {part.name:<16}  {part.state}")
    print()
    for job in JOBS:
        lacking = missing(job, parts)
        print(f"  {job.command:<20}  {job.does}: {'no, it lacks ' + ', '.join(lacking) if lacking else 'yes'}")
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


if __name__ == "__main__":
    main()
