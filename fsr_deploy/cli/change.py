"""fsr-export of a bundle that is there: its plan is built or proven, or it is signed or described as it is."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from fsr_deploy.bundle.info import Bundle, read_bundle
from fsr_deploy.cli.plan_options import PlanArguments, refuse_others
from fsr_deploy.errors import UsageError

if TYPE_CHECKING:
    from fsr_deploy.cli.export_options import Arguments
    from fsr_deploy.exporting.tensorrt.config import PlanOptions


def change(given: Arguments, plan: PlanOptions) -> Bundle:
    """Build or prove the plan of a bundle; one that --bundle names is read. Raises UsageError for other options."""
    if given.bundle is not None:
        refuse_others("--bundle", given, ("bundle", "json", "sbom", "sign"))
        return read_bundle(given.bundle)
    option = "--rebuild" if given.rebuild else "--prove"
    if given.rebuild and given.prove:
        raise UsageError("--rebuild proves what it builds; leave --prove out")
    own = (field.name for field in fields(PlanArguments))
    target = ["target"] if given.target == "rtx" else []
    refuse_others(option, given, (*own, "force", "json", "sbom", "sign", "triton", *target))
    from fsr_deploy.exporting.report.next_steps import say_next
    from fsr_deploy.exporting.tensorrt.rebuild import prove_bundle, rebuild_plan

    path = given.rebuild or given.prove
    assert path is not None
    rebuilt = rebuild_plan(path, plan, force=given.force) if given.rebuild else None
    bundle = Bundle(path, rebuilt or prove_bundle(path, device=plan.device, force=given.force))
    say_next(bundle)
    return bundle
