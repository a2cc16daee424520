"""``fsr-run``: SR faces from frames, with any engine."""

from __future__ import annotations

from typing import cast

from fsr_deploy._util.console import command, finish_on_interrupt, options_from, print_json, read_stdin
from fsr_deploy.cli.run_options import Arguments
from fsr_deploy.errors import ExitCode


@command
@options_from(Arguments)
def main(given: Arguments) -> ExitCode:
    """Upscale the faces in a folder of frames, one image or a list of paths.

    Each frame is a face, unless --boxes or --find-faces says where the faces are in it.

    \b
    fsr-run bundles/aminet faces/ -o faces_128/
    fsr-run bundles/aminet photos/ --find-faces centerface.onnx -o photos_x4/
    find faces/ -name '*.png' | fsr-run bundles/aminet - -o faces_128/ --format jpg --json
    """
    from fsr_deploy.faces.options import FrameOptions
    from fsr_deploy.images.resize import Fit
    from fsr_deploy.runtime.backends.openvino import OpenVinoSession
    from fsr_deploy.runtime.folder.path_list import read_list
    from fsr_deploy.runtime.folder.summary import as_dict, conclude, introduce
    from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files
    from fsr_deploy.runtime.open import open_session, unproven_bundle

    options = RunOptions(
        given.format_, cast("Fit", given.fit), given.batch, given.resume, given.overwrite, given.on_error
    )
    frames = FrameOptions(
        given.boxes, given.find_faces, given.save_boxes, given.upscale, given.faces_only, given.all_faces
    )
    work = options.find(given.source, given.output, read_list(read_stdin()) if given.source == "-" else ())
    task = None
    if frames.wanted:
        frames.refuse_fit(options.fit)
        work, task = frames.task(work, given.source, given.device, given.overwrite)
    if directory := unproven_bundle(given.engine, given.device, given.backend):
        from fsr_deploy.exporting.tensorrt.rebuild import prove_on_first_use

        prove_on_first_use(directory, given.device)
    session = open_session(
        given.engine, given.device, backend=given.backend, trust=given.trust, throughput=len(work.jobs) > 1
    )
    batch = options.batch_for(session.info, work, task)
    introduce(given.engine, session.info, batch)
    if isinstance(session, OpenVinoSession):
        from fsr_deploy.exporting.proof.first_use import prove_with_openvino

        prove_with_openvino(session, batch)
    with finish_on_interrupt("interrupted: finishing the batch (press Ctrl-C again to stop at once)") as stop:
        summary = upscale_files(session, work, options, stop, task)
    session.close()
    conclude(summary, work)
    if given.json:
        print_json(as_dict(session.info, work, summary))
    if stop.is_set():
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if summary.failed else ExitCode.DONE


if __name__ == "__main__":
    main()
