"""Several devices, and several hosts, train together. Virtual CPUs and processes of this machine stand for them."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import pytest

from serving.cluster import free_port
from training import hosts
from training.layers import load

TRAIN = """
import sys
from pathlib import Path
from training.job import Job
from training.train import train
letter, recipe, device, run_dir, images = sys.argv[1:]
job = Job(letter=letter, recipe=recipe, run_dir=Path(run_dir), epochs=2, limit=int(images), device=device)
print(train(job, lambda progress: None).val_accuracy)
"""


def train(letter, recipe, device, run_dir, images=3840, **environment):
    command = [sys.executable, "-c", TRAIN, letter, recipe, device, str(run_dir), str(images)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=250, env={**os.environ, **environment})
    assert finished.returncode == 0, finished.stderr[-2000:]
    return float(finished.stdout)


def weights(run_dir):
    with np.load(run_dir / "checkpoint.npz") as file:
        return file["weights"]


def first_loss(run_dir):
    return json.loads((run_dir / "evaluation.json").read_text())["history"][0]["loss"]


@pytest.mark.parametrize(("letter", "recipe", "accuracy"), [("A", "notebook", 0.7), ("G", "tuned", 0.3)])
def test_two_devices_train_both_recipes(letter, recipe, accuracy, tmp_path):
    assert train(letter, recipe, "cpu:2", tmp_path) > accuracy
    assert (tmp_path / "result.json").exists()
    layers = {type(layer).__name__ for layer in load(tmp_path / "model.keras").layers}
    assert ("Average" in layers) == (letter == "G")  # the mean over its shifts


def test_two_devices_take_the_steps_of_one(tmp_path):
    for device in ("cpu:1", "cpu:2"):
        (tmp_path / device).mkdir()
        train("A", "notebook", device, tmp_path / device, images=320)
    one, two = (weights(tmp_path / device) for device in ("cpu:1", "cpu:2"))
    assert np.corrcoef(one, two)[0, 1] > 0.999  # the mean of two halves' gradients, but for 20 steps of rounding
    first, second = (first_loss(tmp_path / device) for device in ("cpu:1", "cpu:2"))
    assert first == pytest.approx(second, rel=1e-3)


def on_two_hosts(run):
    """Run something with each host's TF_CONFIG, side by side; give what both gave."""
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]

    def host(index):
        return run(index, json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}))

    with ThreadPoolExecutor() as pool:
        hosts = [pool.submit(host, index) for index in range(2)]
        next(as_completed(hosts)).result()  # of two failures the first is the reason
        return [ended.result() for ended in hosts]


def test_two_hosts_end_with_the_same_weights(tmp_path):
    def host(index, config):
        (tmp_path / str(index)).mkdir()
        return train("A", "notebook", "cpu", tmp_path / str(index), TF_CONFIG=config)

    first, second = on_two_hosts(host)
    assert first == second > 0.7
    np.testing.assert_array_equal(weights(tmp_path / "0"), weights(tmp_path / "1"))


@pytest.mark.slow
def test_two_hosts_train_twice_and_the_first_exports_the_best_and_both_as_one(digits, tmp_path):
    def host(index, config):
        (tmp_path / str(index)).mkdir()
        options = ["--seeds", "2", "--ensemble", "2", "--limit", "640", "--epochs", "1"]
        environment = {**os.environ, "TF_CONFIG": config}
        return digits("train", "A", *options, cwd=tmp_path / str(index), env=environment)

    first, second = on_two_hosts(host)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert {path.name for path in (tmp_path / "0" / "models").iterdir()} == {"A", "ensemble", "digits"}
    assert first.stderr.startswith("TF_CONFIG names several hosts: they train one model after the other")
    assert second.stderr.splitlines()[-1] == "trained with the other hosts; the first one exports"
    assert not (tmp_path / "1" / "models").exists()
    assert [len([*tmp_path.glob(f"{host}/runs/A_*/concluded")]) for host in range(2)] == [2, 2]


@pytest.mark.parametrize(
    ("config", "count", "chief"),
    [
        ("", 1, True),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}', 2, True),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', 2, False),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "0"}}', 2, True),
        ('{"cluster": {"chief": [], "worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}', 2, True),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}', 2, False),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}', 2, True),
    ],
)
def test_one_of_the_hosts_exports(config, count, chief, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert (hosts.count(), hosts.is_chief()) == (count, chief)


@pytest.mark.parametrize(
    "config", ["{", '{"task": {"index": "first"}}', '{"cluster": {"worker": null}}', '{"cluster": {"chief": 1}}']
)
def test_a_damaged_tf_config_is_one_line(digits, tmp_path, config):
    finished = digits("train", "A", cwd=tmp_path, env={**os.environ, "TF_CONFIG": config})
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: TF_CONFIG in the environment is not what TensorFlow wants")
    assert finished.stderr.count("\n") == 1
