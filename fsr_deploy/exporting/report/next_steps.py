"""What to do with a bundle that was just written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsr_deploy._util.log import say, warn

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle
    from fsr_deploy.exporting.options import ExportOptions


def _say_lost(options: ExportOptions) -> None:
    """Say which options had no effect, because this machine builds no plan."""
    from fsr_deploy.exporting.options import OPTIONS_OF_PLAN, changed

    if given := changed(options.plan, OPTIONS_OF_PLAN):
        warn(f"{', '.join(given)}: about the plan, which was not built here; give it to --rebuild too")


def say_next(bundle: Bundle, options: ExportOptions | None = None) -> None:
    """Say what was written and what to do with it; ``options`` are those of an export, None of a rebuild."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.info.files)
    say(f"wrote {bundle.path}: {', '.join(bundle.info.files)} ({size / 2**20:.1f} MiB)")
    if options and bundle.info.plan is None:
        if bundle.info.graph_target == "tensorrt":
            from fsr_deploy.runtime.tensorrt.availability import why_no_plan

            say(f"no TensorRT plan: {'--no-plan' if options.with_plan is False else why_no_plan(options.plan.device)}")
            if options.plan.flavour == "rtx":
                gpus = f" --gpus {','.join(options.plan.gpus)}" if options.plan.gpus else ""
                say(f"build it on any machine: fsr-export --rebuild {bundle.path} --target rtx{gpus}")
            else:
                say(f"build it where the GPU is: fsr-export --rebuild {bundle.path}")
            _say_lost(options)
        elif options.target == "auto":
            say("the graph is written for ONNX Runtime; for a GPU with TensorRT export it with --target tensorrt")
            _say_lost(options)
    runs_here = bundle.info.plan is not None or bundle.info.precision != "bf16"
    if bundle.info.io == "uint8" and runs_here:
        say(f"run it: fsr-run {bundle.path} FRAMES -o OUT")
