"""A bundle's graph, proven on this machine with OpenVINO, where the export proved it with another back end.

Needs neither torch nor onnx: the bundle carries the eager model's faces.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.cache_folder import find, keep
from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import REFERENCE_NAME, Bundle, BundleInfo
from fsr_deploy.bundle.reference import read_reference, read_truth
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.proof.parity import Budget, budget_for, gate, prove
from fsr_deploy.exporting.proof.verdict import recorded_budget
from fsr_deploy.runtime.backends.openvino import OpenVinoSession
from fsr_deploy.runtime.backends.openvino_cache import fingerprint, place_of
from fsr_deploy.runtime.session import engine_kind


def prove_with_openvino(session: OpenVinoSession, batch: int) -> None:
    """Compare what a session makes of a bundle's reference faces, in batches of this size, with eager's.

    Nothing is done for a graph without a bundle, for one that its export proved with the same back end, and where an
    earlier run on this machine has proven the same. Raises ParityError where the session is over its budget, and
    InputError where the bundle has no reference faces.
    """
    info, file = session.info, session.file
    bundle = file.bundle
    if bundle is None or any(
        engine_kind(str(row.get("engine", ""))) == engine_kind(info.engine) for row in bundle.parity
    ):
        return
    path = Bundle(file.path.parent, bundle).file(REFERENCE_NAME)
    budget = _budget(bundle, info.precision)
    facts = (info.engine, session.hardware, info.sha256, bundle.files[REFERENCE_NAME], budget, batch)
    verdict = place_of(f"{fingerprint('proof', *facts)}.proof")
    if find(verdict):
        return
    inputs, eager = read_reference(path, bundle)
    count = math.ceil(len(inputs) / batch) * batch  # whole batches: those of another size are computed in another way

    def run(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.concatenate([session.upscale(faces[start : start + batch]) for start in range(0, count, batch)])

    rows = prove(run, info.engine, (inputs, eager), [count], truth=read_truth(path, bundle))
    try:
        gate(rows, budget)
    except ParityError as error:
        raise ParityError(f"{file.path}: {error}\n  --backend onnxruntime runs it as it was proven") from None
    _, _, figures = str(rows[0]).partition(": ")
    say(f"{file.path}: proven with {info.engine} on this machine, {len(inputs)} faces: {figures}")
    if verdict:
        keep(verdict, f"{figures}\n".encode())


def _budget(bundle: BundleInfo, precision: str) -> Budget:
    """Return the bundle's budget, or BF16's where FP32 or FP16 is computed in that."""
    return budget_for("bf16") if precision == "bf16" != bundle.precision else recorded_budget(bundle)
