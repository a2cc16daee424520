"""How a run opens its engine: what has not been proven on this machine is proven first."""

from __future__ import annotations

from collections.abc import Callable

from fsr_deploy.runtime.backends.openvino import OpenVinoSession
from fsr_deploy.runtime.folder.summary import introduce
from fsr_deploy.runtime.open import open_session, parse_devices, unproven_bundle
from fsr_deploy.runtime.session import EngineInfo, Session
from fsr_deploy.runtime.several import SeveralSessions


def open_proven(
    engine: str,
    device: str,
    backend: str | None,
    trust: bool,
    batch_for: Callable[[EngineInfo], int],
    throughput: bool = True,
    cores: int | None = None,
) -> Session:
    """Open an engine, say what runs with the batch that ``batch_for`` gives, and prove it where that is to be done.

    The other arguments are those of ``open_session``; raises what it raises, and ParityError.
    """
    # All of several devices run the same engine: what is proven on the first is proven for all.
    first = parse_devices(device)[0]
    if directory := unproven_bundle(engine, first, backend):
        from fsr_deploy.exporting.tensorrt.rebuild import prove_on_first_use

        prove_on_first_use(directory, first)
    session = open_session(engine, device, backend=backend, trust=trust, throughput=throughput, cores=cores)
    batch = batch_for(session.info)
    introduce(engine, session.info, batch)
    proven = session.sessions[0] if isinstance(session, SeveralSessions) else session
    if isinstance(proven, OpenVinoSession):
        from fsr_deploy.exporting.proof.first_use import prove_with_openvino

        prove_with_openvino(proven, batch)
    return session
