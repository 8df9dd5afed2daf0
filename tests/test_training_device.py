"""Several devices train together; what is not there is refused. Virtual CPUs stand for GPUs."""

import subprocess
import sys

import pytest

TWO_DEVICES = """
import sys
from pathlib import Path
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from training import train
from training.job import Job
train.configure = lambda device, threads: (tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), "2 CPUs")
job = Job(letter="A", recipe=sys.argv[1], run_dir=Path(sys.argv[2]), epochs=2, limit=6000)
print(train.train(job, lambda progress: None).val_accuracy)
"""


@pytest.mark.parametrize("recipe", ["tuned", "notebook"])
def test_a_mirrored_strategy_trains_both_recipes(recipe, tmp_path):
    command = [sys.executable, "-c", TWO_DEVICES, recipe, tmp_path]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert float(finished.stdout) > 0.7
    assert (tmp_path / "result.json").exists()
