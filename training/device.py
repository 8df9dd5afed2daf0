"""Which device trains, and the distribution strategy that goes with it."""

from typing import Any

import tensorflow as tf

from client.errors import UsageError


def configure(device: str, threads: int | None = None) -> tuple[Any, str]:
    """Set up `device` ("auto", "cpu" or "gpu") before TensorFlow starts; give the strategy and one line about it.

    GPUs grow their memory as needed; several are used together by a MirroredStrategy. `threads` bounds the CPU's
    threads: two models side by side, a thread each, use two cores better than one model with two threads. Raises
    UsageError when a GPU is asked for and there is none.
    """
    gpus = [] if device == "cpu" else tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise UsageError("no GPU found. Train with --device cpu, or pip install 'mnist-digits[gpu]' on a GPU machine.")
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy(), f"{len(gpus)} GPUs"
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unnamed")
        return tf.distribute.get_strategy(), f"GPU {name}"
    return tf.distribute.get_strategy(), f"CPU, {threads or 'all'} thread{'s' if threads != 1 else ''}"
