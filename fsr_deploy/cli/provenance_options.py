"""The options of fsr-export that say where a bundle comes from: its signature and its bill of materials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsr_deploy._util.imports import load
from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.info import SBOM_NAME, SIGNATURE_NAME
from fsr_deploy.errors import InputError, UsageError

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle


@dataclass(frozen=True)
class ProvenanceArguments:
    """What is added to a complete bundle."""

    sbom: Annotated[
        bool, typer.Option("--sbom", help="Then write its bill of materials into it (CycloneDX, sbom.cdx.json).")
    ] = False
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Then sign all its files with this private EC key (PEM), for fsr-run --verify."
        ),
    ] = None
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Sign or describe a bundle that is there, as it is.")
    ] = None

    def check_provenance(self, changed: Path | None) -> None:
        """Raise an error for what could not be added, before an export of minutes; ``changed`` is a bundle that is
        there and gets another plan.
        """
        if self.bundle is not None and not self.sbom and self.sign is None:
            raise UsageError(f"--bundle {self.bundle}: give --sign KEY, --sbom or both with it")
        if self.bundle is not None and self.sign is None and (self.bundle / SIGNATURE_NAME).exists():
            raise UsageError(
                f"--bundle {self.bundle}: is signed, and would no longer be as signed; give --sign KEY too"
            )
        if self.sbom:
            load("cyclonedx.model.bom")
        if self.sign is not None:
            from fsr_deploy.bundle.signature import open_key

            open_key(self.sign)
        for option, wanted, name in (("--sign KEY", self.sign, SIGNATURE_NAME), ("--sbom", self.sbom, SBOM_NAME)):
            if changed is not None and not wanted and (changed / name).exists():
                warn(f"{changed / name}: is of the old plan, and goes with it; {option} makes a new one")

    def write_provenance(self, bundle: Bundle) -> None:
        """Describe and sign a bundle where that is wanted; raises InputError that says how to go on."""
        from fsr_deploy.bundle.bill import write_sbom
        from fsr_deploy.bundle.signature import sign

        try:
            if self.sbom:
                say(f"wrote {write_sbom(bundle)}")
            if self.sign is not None:
                say(f"wrote {sign(bundle, self.sign)}; check it: fsr-run {bundle.path} INPUT --verify KEY.pub")
        except InputError as error:
            hint = "" if self.bundle else f"; {bundle.path} is written: go on with fsr-export --bundle {bundle.path}"
            raise InputError(f"{error}{hint}") from error
