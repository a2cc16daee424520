"""How a cluster is shared out: one actor for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from fsr_deploy.errors import MissingError

MOST_CORES = 4  # of an actor on CPUs: they share its engine, and its Python does not hold them up yet
FILES_AT_ONCE = 64  # of an actor: what has to be done again if it dies
ROUNDS = 4  # so many times at least each actor gets files, so that fast ones do more


@dataclass(frozen=True)
class Allocation:
    """``actors`` with ``cores`` each, and with a GPU each or none."""

    actors: int
    cores: int
    gpu: bool

    @property
    def threads(self) -> int:
        """How many cores an actor works with; a node that offers Ray only its GPUs has some, too."""
        return max(1, self.cores)

    def files(self, count: int, batch: int) -> int:
        """Return how many of ``count`` files an actor gets at a time: whole batches."""
        fair = ceil(count / (ROUNDS * self.actors))
        return batch * ceil(min(fair, max(FILES_AT_ONCE, ROUNDS * batch)) / batch)


def allocate(nodes: Sequence[Mapping[str, float]], gpus: bool | None) -> Allocation:
    """Return the actors for nodes of so many "CPU" and "GPU" each; ``gpus`` None means GPUs where there are any.

    Every actor gets the same, so that the node with the least decides. Raises MissingError where there is no device.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if gpus is None:
        gpus = bool(with_gpus)
    if gpus:
        if not with_gpus:
            raise MissingError("--device cuda: no node of the cluster has a GPU; leave the option out")
        cores = min(int(node.get("CPU", 0) // int(node["GPU"])) for node in with_gpus)
        return Allocation(sum(int(node["GPU"]) for node in with_gpus), cores, True)
    with_cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not with_cores:
        raise MissingError("no node of the cluster offers a core; start one with ray start --address=HOST:PORT")
    # Two on the smallest node: if one dies, the other goes on.
    cores = max(1, min(MOST_CORES, min(with_cores) // 2))
    return Allocation(sum(count // cores for count in with_cores), cores, False)
