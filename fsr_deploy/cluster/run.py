"""The driver: a folder of faces through the actors of a cluster, with the journal of one machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from fsr_deploy._util import imports
from fsr_deploy._util.log import progress, say, warn
from fsr_deploy.cluster.actor import Actor, look_at_engine
from fsr_deploy.cluster.allocation import Allocation, allocate
from fsr_deploy.cluster.connection import connected
from fsr_deploy.cluster.messages import ErrorData, Facts, Given, Orders, Outcome
from fsr_deploy.cluster.options import ClusterOptions
from fsr_deploy.cluster.results import Results
from fsr_deploy.cluster.status import table, write_status
from fsr_deploy.errors import DeviceError, MissingError, UsageError
from fsr_deploy.runtime.folder.batch_sizes import batches_to_accept
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.outputs import look_at, refuse_to_replace
from fsr_deploy.runtime.folder.steps import Failed
from fsr_deploy.runtime.folder.summary import RunSummary, introduce
from fsr_deploy.runtime.folder.tally import Tally, new_summary
from fsr_deploy.runtime.folder.task import FaceTask
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.session import EngineInfo

# A file may be what ends its actor, so that it is not tried for ever; in its last try it is alone.
TRIES = 3
NEW_ACTORS = 3  # that may die in a row while they start


@dataclass(frozen=True)
class ClusterRun:
    """What a run did, and whether it was interrupted; ``status`` is the table of its files, ``died`` how many actors
    had to be replaced.
    """

    info: EngineInfo
    summary: RunSummary
    allocation: Allocation
    status: Path
    died: int
    interrupted: bool


def upscale_on_cluster(cluster: ClusterOptions, work: Work, options: RunOptions) -> ClusterRun:
    """Upscale the frames of ``work``, those of a folder or a list, on a cluster whose nodes share the folder. Journal,
    outputs and their bytes are those of ``upscale_files``, and either goes on where the other ended.

    Ctrl-C and SIGTERM end it at once. Raises what ``upscale_files`` does, UsageError for a single image, and where the
    cluster cannot be had or its nodes differ, InputError, MissingError or UsageError.
    """
    if work.folder is None:
        raise UsageError(f"--cluster {cluster.address}: is for folders and lists; leave it out for one image")
    interrupted = False
    # What is left behind is removed when no actor can write any more, and the folder is ours until then.
    with ExitStack() as after, connected(cluster.address) as ray:
        crew = _hire(ray, cluster, work, options)
        batch = options.batch_for(crew.facts.info, work)
        introduce(cluster.engine, crew.facts.info, batch)
        say(f"cluster {cluster.address}: actors {crew.allocation.actors}, cores of each {crew.allocation.threads}")
        start = time.perf_counter()
        results = _open_books(after, crew.facts, batch, work, work.folder, options)
        try:
            crew.do(results)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            status = write_status(work.folder, results.all_rows())
        summary = results.tally.summary
        summary.batch = results.batch
        summary.seconds = time.perf_counter() - start
    return ClusterRun(crew.facts.info, summary, crew.allocation, status, len(results.replaced), interrupted)


def _open_books(after: ExitStack, facts: Facts, batch: int, work: Work, folder: Path, options: RunOptions) -> Results:
    """Return the books of a run that begins; raises InputError where it would replace files that no run wrote."""
    task = FaceTask(options.fit)
    summary = new_summary(facts.info, work, task, batch)
    advance = after.enter_context(progress("faces", summary.total))
    journal = Journal(folder)
    after.callback(journal.close)
    places = look_at(task.targets(work), journal)
    if not options.overwrite:
        refuse_to_replace(places, work)
    tally = Tally(summary, options.on_error == "skip", advance, say)
    for path, reason in work.listing.failed:
        tally.failed(Failed(path, f"{path}: {reason}"))
    accepted = batches_to_accept(journal, facts.made_with, batch, options.resume, say)
    taken = None if options.overwrite else places.taken
    results = Results(work, folder, journal, taken, facts.made_with, batch, accepted, tally, options.resume)
    after.callback(results.remove_parts)
    return results


@dataclass(frozen=True)
class _Crew:
    """The actors of a run, which Ray Data starts."""

    ray: ModuleType
    allocation: Allocation
    orders: Orders
    facts: Facts

    def do(self, results: Results) -> None:
        """Have all files done. Ray does again what a dead actor had; what it gives up is tried once more, file by file.

        Raises DeviceError for what fails in the cluster itself.
        """
        size = self.allocation.files(len(results.left), results.batch)
        for files in (size, 1):
            if not (left := results.left):
                return
            if files < size:
                warn(f"actors died {TRIES - 1} times over {len(left)} of the files; each of them is tried alone")
            given = list(results.given(left))
            blocks = [given[start : start + files] for start in range(0, len(given), files)]
            try:
                with closing(self._outcomes(results.accepted, blocks)) as outcomes:
                    results.take(outcomes)
            except self.ray.exceptions.RayError as error:
                raise DeviceError(
                    f"the cluster failed: {_last_line(error)}; the same command goes on with what is left"
                ) from error
        results.give_up(results.left, f"the process that had it died, {TRIES} times")

    def _outcomes(
        self, batches: Sequence[int], blocks: Sequence[Sequence[Given]]
    ) -> Generator[list[Outcome], None, None]:
        """Yield what comes back for files that Ray Data gives to actors, a block at a time."""
        data = imports.load("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1
        context.max_consecutive_actor_init_deaths = NEW_ACTORS
        given = data.from_arrow([table(Given, [asdict(one) for one in block]) for block in blocks])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the options of actors have no other way in yet
            done = given.map_batches(
                Actor,
                fn_constructor_args=(self.orders, self.facts, batches),
                batch_size=None,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(size=min(self.allocation.actors, len(blocks))),
                num_cpus=self.allocation.cores,
                num_gpus=int(self.allocation.gpu),
                max_restarts=-1,
                max_task_retries=TRIES - 2,
            )
        with closing(iter(done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))) as parts:
            for part in parts:
                yield [Outcome(**row) for row in part.to_pylist()]


def _hire(ray: ModuleType, cluster: ClusterOptions, work: Work, options: RunOptions) -> _Crew:
    """Share out the cluster and open the engine on one node, as every actor will; raises what that raises."""
    allocation = allocate([node["Resources"] for node in ray.nodes() if node["Alive"]], cluster.gpus)
    orders = Orders(
        cluster.engine_path,
        cluster.node_device,
        cluster.backend,
        cluster.trust,
        allocation.threads,
        options.fit,
        str(work.folder and work.folder.absolute()),
        None if options.batch == "auto" else int(options.batch),
        len(work.jobs),
    )
    look = ray.remote(num_cpus=allocation.cores, num_gpus=int(allocation.gpu), max_retries=0)(look_at_engine)
    try:
        found: Facts | ErrorData = ray.get(look.remote(orders))
    except ray.exceptions.RayError as error:
        raise MissingError(
            f"--cluster {cluster.address}: the first node cannot run fsr-deploy: {_last_line(error)}; install it on all"
            " nodes, in the same version"
        ) from error
    if isinstance(found, ErrorData):
        raise found.error()
    return _Crew(ray, allocation, orders, found)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
