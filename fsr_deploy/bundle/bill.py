"""The bill of materials of a bundle, ``sbom.cdx.json``: what it holds and what made it, in CycloneDX 1.6."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsr_deploy import __version__
from fsr_deploy._util.files import write_file
from fsr_deploy._util.imports import load
from fsr_deploy.bundle.info import INFO_NAME, REBUILT, SBOM_NAME, Bundle, place, read_bundle, sha256

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

PLAN_PACKAGES = {"tensorrt": "tensorrt", "rtx": "tensorrt-rtx"}


def write_sbom(bundle: str | os.PathLike[str] | Bundle) -> Path:
    """Write the bill of materials of a bundle into it; returns its path. An older one is replaced.

    It names the network, the weights by the hash of their checkpoint, all files with their hashes, and the libraries
    that made them, with their licences where the same versions are installed here. A signature does not hold any more:
    sign after it. Raises InputError for a damaged bundle, MissingError without the extra ``sign``.
    """
    load("cyclonedx.model.bom")
    from cyclonedx.output.json import JsonV1Dot6

    found = read_bundle(place(bundle))
    for name in found.info.files:
        found.file(name)
    text = JsonV1Dot6(_bill(found)).output_as_string(indent=2)
    write_file(found.path / SBOM_NAME, (text + "\n").encode())
    return found.path / SBOM_NAME


def _bill(bundle: Bundle) -> Bom:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    info, record = bundle.info, sha256(bundle.path / INFO_NAME)
    # The same number for the same bundle.
    bill = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{record}"))
    tool = Component(
        name="fsr-deploy", version=__version__, type=ComponentType.APPLICATION, licenses=_spdx("Apache-2.0")
    )
    bill.metadata.tools.components.add(tool)
    model = Component(
        name=bundle.path.resolve().name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="bundle",
        description=f"{info.model} in {info.precision.upper()}: faces to {info.scale} times their size",
        properties=_properties(
            precision=info.precision,
            graph_target=info.graph_target,
            parity_passed=info.parity_passed,
            system=info.versions.get("system"),
            **_parity(info.parity),
        ),
    )
    bill.metadata.component = model
    network = Component(
        name=info.model,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="network",
        properties=_properties(trained=info.trained),
    )
    parts = [network, *(_file(name, digest) for name, digest in {**info.files, INFO_NAME: record}.items())]
    bill.components.update(parts)
    bill.register_dependency(model, parts)
    if info.checkpoint_sha256:
        weights = Component(
            name=f"weights of {info.model}",
            type=ComponentType.DATA,
            bom_ref="weights",
            hashes=_hashes(info.checkpoint_sha256),
            properties=_properties(checkpoint_entry=info.checkpoint_entry or None),
        )
        bill.components.add(weights)
        bill.register_dependency(network, [weights])
    bill.components.update(_libraries(bundle))
    return bill


def _parity(rows: list[dict[str, Any]]) -> dict[str, str]:
    known = [row for row in rows if {"engine", "batch", "psnr_db"} <= set(row)]
    return {
        f"parity: {row['engine']}, batch {row['batch']}": "equal" if row["psnr_db"] is None else f"{row['psnr_db']} dB"
        for row in known
    }


def _file(name: str, digest: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}", hashes=_hashes(digest))


def _libraries(bundle: Bundle) -> Iterator[Component]:
    """Yield what made the graph and the plan; whoever runs the bundle need not have it: "excluded" of its run time."""
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from packageurl import PackageURL

    for (name, version), uses in _made_with(bundle).items():
        python = name == "python"
        yield Component(
            name=name,
            version=version,
            type=ComponentType.PLATFORM if python else ComponentType.LIBRARY,
            bom_ref=f"library:{name}@{version}",
            purl=PackageURL("generic" if python else "pypi", name=name, version=version),
            scope=ComponentScope.EXCLUDED,
            licenses=_licences(name, version),
            properties=_properties(made=", ".join(uses)),
        )


def _made_with(bundle: Bundle) -> dict[tuple[str, str], list[str]]:
    """Return libraries and versions, each with the files it took part in: the graph, the plan or both."""
    info = bundle.info
    found: dict[tuple[str, str], list[str]] = {}
    for entry, version in info.versions.items():
        name = entry.removeprefix(REBUILT)
        if name != "system":
            found.setdefault((name, version), []).append("plan" if entry.startswith(REBUILT) else "graph")
    if info.plan is not None:
        uses = found.setdefault((PLAN_PACKAGES[info.plan.flavour], info.plan.tensorrt), [])
        uses += [] if "plan" in uses else ["plan"]
    return found


def _licences(name: str, version: str) -> list[License]:
    """Return the licence that a package declares where this very version is installed, else none."""
    if name == "python" and version == platform.python_version():
        return _spdx("PSF-2.0")
    if name == "fsr-deploy":
        return _spdx("Apache-2.0")
    try:
        declared = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return []
    if declared["version"] != version:
        return []
    text = str(declared.get("license_expression") or declared.get("license") or "")
    classifiers = [one.rpartition(" :: ")[2] for one in declared.get("classifier", ()) if one.startswith("License")]
    short = text if len(text.splitlines()) == 1 else next(iter(classifiers), "")  # some have the whole text there
    return _spdx(short) if short else []


def _spdx(text: str) -> list[License]:
    """Return a licence by its SPDX name or expression where it has one, else by its own name."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(text)]


def _hashes(digest: str) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def _properties(**values: object) -> list[Property]:
    from cyclonedx.model import Property

    return [
        Property(name=f"fsr-deploy:{name}", value=str(value)) for name, value in values.items() if value is not None
    ]
