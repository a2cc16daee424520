"""bundle.json's content: everything known about an export, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from fsr_deploy._util.sizes import Shape
from fsr_deploy.bundle.info import LR_RECIPE, BundleInfo, TensorInfo
from fsr_deploy.exporting.graph.trace import BATCH, INPUT, OUTPUT
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.proof.parity import Row
from fsr_deploy.exporting.proof.verdict import judged
from fsr_deploy.exporting.report.versions import versions
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.models import registry
from fsr_deploy.models.source import Source


def describe(
    options: ExportOptions,
    source: Source,
    graph_target: Target,
    kept: PrecisionMap,
    rows: Sequence[Row],
    worst: Sequence[Row] = (),
) -> BundleInfo:
    """Return what is known; an engine over its budget, here by force, gets a note for whoever runs it."""
    small = source.lr_shape
    large, taken = ((small[0] * times, small[1] * times) for times in (source.scale, source.upsampling))
    info = BundleInfo(
        model=source.name,
        precision=options.precision,
        scale=source.scale,
        lr_size=source.lr_size,
        batches=options.batches,
        inputs=(_tensor(INPUT, options.io, small, taken),),
        outputs=(_tensor(OUTPUT, options.io, large, large),),
        trained=source.trained,
        io=options.io,
        graph_target=graph_target,
        options=source.options,
        checkpoint_sha256=source.checkpoint_sha256,
        checkpoint_entry=source.checkpoint_entry,
        precision_map=kept,
        parity=[row.as_dict() for row in rows],
        worst_case=[row.as_dict() for row in worst],
        budget=asdict(options.budget),
        versions=versions(),
        lr_recipe=LR_RECIPE,
        template=source.template,
        resizable=not source.registered or registry.made_for(source.name, source.options) is None,
    )
    return judged(info)


def _tensor(name: str, io: str, of_uint8: Shape, of_floats: Shape) -> TensorInfo:
    if io == "uint8":
        return TensorInfo(name, "uint8", (BATCH, *of_uint8, 3))
    return TensorInfo(name, "float32", (BATCH, 3, *of_floats))
