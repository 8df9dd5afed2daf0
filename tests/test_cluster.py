"""Three Ray nodes on this machine, one of which dies: serving, reading files and training go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import Client

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
NODE = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
NOT_ON_RAY = "test_a_configuration_that_cannot_be_followed_is_refused_and_changes_nothing"
"""HandleReloadConfigRequest would reach one replica of many."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}.items():
            environment.setenv(name, value)
        environment.setenv("PYTHONPATH", str(HERE.parent))
        from ray.cluster_utils import Cluster

        cluster = Cluster(head_node_args=NODE, initialize_head=True)
        try:
            yield cluster
        finally:
            for node in [*cluster.worker_nodes]:
                cluster.remove_node(node, allow_graceful=False)
            cluster.remove_node(cluster.head_node, allow_graceful=False)


@pytest.fixture
def three_nodes(cluster) -> object:
    """The cluster, with the nodes replaced that earlier tests have killed."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(**NODE)
    return cluster


@pytest.fixture(scope="module")
def models(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cluster") / "models"
    shutil.copytree(model_root / "digits" / "1", root / "digits" / "1")
    return root


@pytest.fixture(scope="module")
def deployed(cluster, models: Path, server, command: str) -> Iterator[str]:
    """The gRPC address of two replicas."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(**NODE)
    options = ["--cluster", cluster.address, "--models", str(models), "--port", "0", "--replicas", "2", "2"]
    running = server([command, "serve", *options, "--poll-seconds", "0.2"])
    yield running.address
    assert running.stop() == 0


def children_of(cluster, title: str) -> list[int]:
    """Give the processes of the cluster whose title holds a text."""
    raylets = {
        info.process.pid for node in [cluster.head_node, *cluster.worker_nodes] for info in node.all_processes["raylet"]
    }
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            if parent in raylets and title in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_the_replicas_keep_tensorflow_servings_contract(deployed: str) -> None:
    options = ["-p", "no:cacheprovider", "-m", "conformance", "--server", deployed, "-k", f"not {NOT_ON_RAY}"]
    suite = [sys.executable, "-m", "pytest", *options, str(HERE / "test_conformance.py")]
    finished = subprocess.run(suite, capture_output=True, text=True, cwd=HERE.parent)
    assert finished.returncode == 0, finished.stdout[-3000:]


def test_a_new_version_takes_over_without_a_failed_request(deployed: str, models: Path, publish) -> None:
    with Client(deployed, timeout=20) as client:
        blank = np.zeros((28, 28), np.uint8)
        number = publish(models)
        answered: list[int] = []
        while answered[-20:] != [number] * 20:
            answered += [one.model_version for one in client.classify([blank])]
            assert len(answered) < 5000
    assert {*answered} <= {number - 1, number}


def test_no_classification_fails_when_a_node_dies_under_load(deployed: str, three_nodes, mnist_test) -> None:
    images = list(mnist_test[0][:2000])
    failures: list[object] = []
    counts: list[int] = []
    begun = threading.Barrier(4)

    def load() -> None:
        with Client(deployed, timeout=30) as client:
            for turn in range(8):
                results = list(client.stream(images[:500]))
                counts.append(len(results))
                failures.extend(one.error for one in results if one.prediction is None)
                if turn == 0:
                    begun.wait(120)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(120)
    replicas = children_of(three_nodes, "ServeReplica")
    victim = next(
        node
        for node in three_nodes.worker_nodes
        if any(_parent(pid) == node.all_processes["raylet"][0].process.pid for pid in replicas)
    )
    three_nodes.remove_node(victim, allow_graceful=False)
    for thread in threads:
        thread.join()
    assert (sum(counts), failures) == (3 * 8 * 500, [])


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_20000_files_give_20000_rows_when_a_reader_is_killed(
    deployed: str, three_nodes, mnist_test, tmp_path: Path, wait_until, command: str
) -> None:
    from pyarrow import parquet

    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(20_000):
        Image.fromarray(mnist_test[0][number % 10_000]).save(scans / f"{number}.png", compress_level=0)
    (scans / "7.png").write_bytes(b"no image")
    options = ["--cluster", three_nodes.address, "--out", str(tmp_path / "rows"), "--server", deployed]
    arguments = [command, "classify", str(scans), *options, "--timeout", "30"]
    run = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: [*(tmp_path / "rows").glob("*.parquet")] or run.poll() is not None)
    readers = children_of(three_nodes, "MapWorker")
    os.kill(readers[0], signal.SIGKILL)
    _, said = run.communicate(timeout=600)
    assert (run.returncode, said) == (1, "20,000 files: 19,999 classified, 1 failed\n")
    rows = parquet.read_table(tmp_path / "rows").to_pylist()
    assert sorted(row["file"] for row in rows) == sorted(str(path) for path in scans.iterdir())
    assert [row["error"] for row in rows if row["digit"] is None] == [
        f"{scans / '7.png'}: not an image that can be read"
    ]


def test_addresses_of_fsspec_and_json_lines_work_too(deployed: str, three_nodes, mnist_test, tmp_path: Path, digits):
    Image.fromarray(mnist_test[0][0]).save(tmp_path / "seven.png")
    names = [f"file://{tmp_path}/*.png", f"file://{tmp_path}/gone.jpg"]
    options = ["--server", deployed, "--cluster", three_nodes.address, "--json", "--out", tmp_path / "rows"]
    finished = digits("classify", *names, *options)
    assert (finished.returncode, finished.stderr) == (1, "2 files: 1 classified, 1 failed\n")
    lines = [line for path in (tmp_path / "rows").iterdir() for line in path.read_text().splitlines()]
    told = {row["file"]: row for row in map(json.loads, lines)}
    assert told[f"file://{tmp_path}/seven.png"]["digit"] == 7
    assert "No such file" in told[f"file://{tmp_path}/gone.jpg"]["error"]
    again = digits("classify", *names, *options)
    assert (again.returncode, again.stderr.strip()) == (
        2,
        f"error: {tmp_path / 'rows'} is not empty. Name another folder with --out",
    )


def test_a_training_ends_with_the_whole_table_when_a_node_dies(
    three_nodes, tmp_path: Path, wait_until, digits, command: str
):
    options = ["--limit", "6000", "--epochs", "3", "--cluster", three_nodes.address]
    arguments = [command, "train", "A", "B", "C", *options]
    run = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: len([*tmp_path.glob("runs/*/checkpoint.npz")]) > 0 or run.poll() is not None)
    tasks = children_of(three_nodes, "_work")
    busy = [node.all_processes["raylet"][0].process.pid for node in three_nodes.worker_nodes]
    victim = next(
        (node for node, raylet in zip([*three_nodes.worker_nodes], busy, strict=True) if raylet in map(_parent, tasks)),
        None,
    )
    assert victim, "no training on a node that can be killed"
    three_nodes.remove_node(victim, allow_graceful=False)
    _, said = run.communicate(timeout=600)
    assert run.returncode == 0, said
    rows = json.loads(digits("results", "--json", cwd=tmp_path).stdout)
    assert [(row["model"], row["epochs"]) for row in rows] == [("A", 3), ("B", 3), ("C", 3)]
