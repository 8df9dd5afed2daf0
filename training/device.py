"""Which device trains, and the distribution strategy that goes with it."""

from typing import Any

import tensorflow as tf

from client.errors import UsageError


def configure(device: str, threads: int | None = None, hosts: int = 1) -> tuple[Any, str]:
    """Set up `device` ("auto", "cpu" or "gpu") before TensorFlow starts; give the strategy and one line about it.

    GPUs grow their memory as needed; several are used together by a MirroredStrategy, several `hosts`, which TF_CONFIG
    names, by a MultiWorkerMirroredStrategy, which waits for all of them. "cpu:2" makes two virtual devices of the CPU,
    to try that without GPUs. `threads` bounds the CPU's threads: two models side by side, a thread each, use two cores
    better than one model with two threads. Raises UsageError when a GPU is asked for and there is none.
    """
    kind, _, virtual = device.partition(":")
    gpus = [] if kind == "cpu" else tf.config.list_physical_devices("GPU")
    if kind == "gpu" and not gpus:
        raise UsageError("no GPU found. Train with --device cpu, or pip install 'mnist-digits[gpu]' on a GPU machine.")
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if virtual:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(virtual))
    return _strategy(gpus, int(virtual or 1), threads, hosts)


def _strategy(gpus: list[Any], cpus: int, threads: int | None, hosts: int) -> tuple[Any, str]:
    if hosts > 1:
        return tf.distribute.MultiWorkerMirroredStrategy(), f"{hosts} hosts"
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy(), f"{len(gpus)} GPUs"
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unnamed")
        return tf.distribute.get_strategy(), f"GPU {name}"
    if cpus > 1:
        return tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(cpus)]), f"CPU as {cpus} devices"
    return tf.distribute.get_strategy(), f"CPU, {threads or 'all'} thread{'s' if threads != 1 else ''}"
