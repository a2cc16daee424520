"""``fsr-run``: SR faces from frames, with any engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from fsr_deploy._util.console import command, finish_on_interrupt, options_from, print_json, read_stdin
from fsr_deploy._util.cores import usable_cores
from fsr_deploy._util.sizes import read_size
from fsr_deploy.cli.cluster_options import run_on_cluster
from fsr_deploy.cli.film_options import run_film
from fsr_deploy.cli.run_options import Arguments
from fsr_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fsr_deploy.runtime.folder.task import Task


@command
@options_from(Arguments)
def main(given: Arguments) -> ExitCode:
    """Upscale the faces in a folder of frames, one image, a film or a list of paths.

    Each frame is a face, unless --boxes or --find-faces says where the faces are in it.

    \b
    fsr-run bundles/aminet faces/ -o faces_128/
    fsr-run bundles/aminet photos/ --find-faces centerface.onnx -o photos_x4/
    fsr-run bundles/aminet face.mp4 -o face_128.mp4 --crf 14
    """
    if given.verify is not None:
        from fsr_deploy.bundle.signature import verify

        verify(given.engine, given.verify)
    from fsr_deploy.cluster.options import ClusterOptions
    from fsr_deploy.exporting.proof.open_proven import open_proven
    from fsr_deploy.faces.options import FrameOptions
    from fsr_deploy.films.kinds import is_film
    from fsr_deploy.images.resize import Fit
    from fsr_deploy.runtime.folder.path_list import read_list
    from fsr_deploy.runtime.folder.processes import processes_for
    from fsr_deploy.runtime.folder.summary import as_dict, conclude
    from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files

    options = RunOptions(
        given.format_, cast("Fit", given.fit), given.batch, given.resume, given.overwrite, given.on_error
    )
    frames = FrameOptions(
        given.boxes, given.find_faces, given.save_boxes, given.upscale, given.faces_only, given.all_faces
    )
    opened = partial(open_proven, given.engine, given.device, given.backend, given.trust)
    given.refuse_on_cluster(given.source, is_film(given.source), frames.wanted, given.tile)
    if is_film(given.source):
        if given.tile is not None:
            raise UsageError(f"--tile {given.tile}: is for pictures, and {given.source} is a film")
        return run_film(given.source, given.output, given.film_options(options), frames, opened, given.json)
    given.refuse_film_options(given.source)
    work = options.find(given.source, given.output, read_list(read_stdin()) if given.source == "-" else ())
    if given.cluster is not None:
        cluster = ClusterOptions(given.engine, given.cluster, given.device, given.backend, given.trust)
        return run_on_cluster(cluster, work, options, given.json)
    task: Task | None = frames.tiles_instead(read_size("--tile", given.tile), given.overlap, options.fit)
    if frames.wanted:
        frames.refuse_fit(options.fit)
        work, task = frames.task(work, given.source, given.device, given.overwrite)
    session = opened(lambda engine: options.batch_for(engine, work, task), throughput=len(work.jobs) > 1)
    with finish_on_interrupt("interrupted: finishing the batch (press Ctrl-C again to stop at once)") as stop:
        processes = processes_for(len(work.jobs), usable_cores(), session.info.sr_shape)
        summary = upscale_files(session, work, options, stop, task, processes)
    session.close()
    conclude(summary, work)
    if given.json:
        print_json(as_dict(session.info, work, summary))
    if stop.is_set():
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if summary.failed else ExitCode.DONE


if __name__ == "__main__":
    main()
