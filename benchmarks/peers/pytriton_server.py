"""PyTriton: Triton's C++ front with its dynamic batcher, and the model in a Python function.

python -m benchmarks.peers.pytriton_server VERSION_DIR PORT
"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.saved_model import load

classify = load(sys.argv[1])
port = int(sys.argv[2])


@batch
def infer(images: np.ndarray) -> list[np.ndarray]:
    return [classify(images)]


with Triton(config=TritonConfig(grpc_port=port, http_port=port + 1, metrics_port=port + 2, log_verbose=0)) as triton:
    triton.bind(
        model_name="digits",
        infer_func=infer,
        inputs=[Tensor(name="images", dtype=np.uint8, shape=(28, 28))],
        outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
        config=ModelConfig(max_batch_size=1024),
    )
    triton.serve()
