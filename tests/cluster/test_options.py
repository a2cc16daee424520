"""What can run on a cluster, and how a cluster is shared out."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsr_deploy.cluster.allocation import Allocation, allocate
from fsr_deploy.cluster.connection import connected
from fsr_deploy.cluster.options import ClusterOptions
from fsr_deploy.errors import InputError, MissingError, UsageError
from tests.cli.runs import error, fsr_run, here

__all__ = ["here"]


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.5:6379", "head.example.org:6379", "[::1]:6379"])
def test_addresses_of_clusters_are_taken(address: str) -> None:
    assert ClusterOptions("tiny", address).address == address


@pytest.mark.parametrize("address", ["", "locally", "ray://head:10001", "head", "head:", "http://head:80"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="give local, auto or the HOST:PORT"):
        ClusterOptions("tiny", address)


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0,cuda:1", "cpu,cpu", "openvino:GPU", "gpu"])
def test_devices_are_not_chosen_one_by_one(device: str) -> None:
    with pytest.raises(UsageError, match="a cluster uses all of its devices"):
        ClusterOptions("tiny", "local", device)


@pytest.mark.parametrize(
    ("device", "backend", "gpus", "node_device"),
    [
        ("auto", None, None, "auto"),
        ("auto", "onnxruntime", None, "auto"),
        ("auto", "openvino", False, "auto"),
        ("cpu", None, False, "cpu"),
        ("openvino:CPU", None, False, "openvino:CPU"),
        ("cuda", None, True, "cuda:0"),
        ("cuda:all", None, True, "cuda:0"),
    ],
)
def test_ray_shows_each_actor_one_gpu_as_the_first(
    device: str, backend: str | None, gpus: bool | None, node_device: str
) -> None:
    options = ClusterOptions("tiny", "local", device, backend)
    assert (options.gpus, options.node_device) == (gpus, node_device)


@pytest.mark.parametrize(
    ("nodes", "gpus", "allocation"),
    [
        ([{"CPU": 1}], None, Allocation(1, 1, False)),
        ([{"CPU": 2}], None, Allocation(2, 1, False)),
        ([{"CPU": 64}], None, Allocation(16, 4, False)),
        ([{"CPU": 8}, {"CPU": 64}, {"CPU": 0}], None, Allocation(18, 4, False)),
        ([{"CPU": 16, "GPU": 1}], None, Allocation(1, 16, True)),
        ([{"CPU": 16, "GPU": 1}], False, Allocation(4, 4, False)),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 32, "GPU": 8}, {"CPU": 96}], True, Allocation(16, 4, True)),
        ([{"CPU": 4, "GPU": 8}], None, Allocation(8, 0, True)),
    ],
)
def test_each_device_gets_an_actor(
    nodes: Sequence[dict[str, float]], gpus: bool | None, allocation: Allocation
) -> None:
    assert allocate(nodes, gpus) == allocation


@pytest.mark.parametrize(("nodes", "gpus", "missing"), [([{"CPU": 4}], True, "has a GPU"), ([{}], None, "a core")])
def test_a_cluster_without_the_device_is_told_apart(
    nodes: Sequence[dict[str, float]], gpus: bool | None, missing: str
) -> None:
    with pytest.raises(MissingError, match=missing):
        allocate(nodes, gpus)


@pytest.mark.parametrize(
    ("count", "batch", "files"), [(1, 1, 1), (60, 1, 8), (60, 16, 16), (100_000, 1, 64), (100_000, 48, 192)]
)
def test_an_actor_gets_whole_batches_and_little_to_do_again(count: int, batch: int, files: int) -> None:
    assert Allocation(2, 1, False).files(count, batch) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("film.mp4",), "is for folders of faces, and film.mp4 is a film"),
        (("faces", "--tile", "4"), "is for frames that are faces; leave out --tile"),
        (("faces", "--boxes", "boxes.csv"), "is for frames that are faces; leave out --boxes and --find-faces"),
        (("faces/00.png",), "is for folders and lists; leave it out for one image"),
        (("faces", "--device", "cuda:1"), "--device cuda:1: a cluster uses all of its devices"),
    ],
)
def test_what_does_not_run_on_a_cluster_is_refused_before_anything_starts(
    here: Path, arguments: tuple[str, ...], message: str
) -> None:
    (here / "film.mp4").write_bytes(b"")
    result = fsr_run("model.onnx", *arguments, "--cluster", "local")
    assert result.exit_code == 2
    assert message in error(result)


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(InputError, match=f"--cluster {address}: cannot be reached: Connection refused"):
        connected(address).__enter__()
