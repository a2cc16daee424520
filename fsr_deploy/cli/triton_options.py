"""The option of fsr-export that also writes the bundle for NVIDIA Triton."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsr_deploy._util.log import say
from fsr_deploy.errors import InputError

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle


@dataclass(frozen=True)
class TritonArguments:
    """Where a model of Triton's is wanted."""

    triton: Annotated[
        Path | None,
        typer.Option(metavar="REPO", help="Then write it into this model repository of Triton, as fsr-serve does."),
    ] = None

    def check_triton(self) -> None:
        """Raise MissingError where what writes for Triton is wanted and missing: an export takes minutes."""
        if self.triton is not None:
            from fsr_deploy.serving.triton_config import protobuf

            protobuf()

    def write_triton(self, bundle: Bundle) -> None:
        """Write a bundle for Triton where that is wanted; raises InputError that says how to do it another way."""
        if self.triton is None:
            return
        from fsr_deploy.serving.triton_repository import TritonOptions, write_triton

        try:
            model = write_triton(bundle.path, self.triton, TritonOptions())
        except InputError as error:
            again = f"{bundle.path} is written: go on with fsr-serve triton {bundle.path} {self.triton}"
            raise InputError(f"{error}; {again}") from error
        say(f"wrote {model}, version 1; serve it: tritonserver --model-repository {self.triton}")
