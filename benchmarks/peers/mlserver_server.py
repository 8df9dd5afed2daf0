"""MLServer with a runtime of one method, in its own process (no worker pool), asked over gRPC.

python -m benchmarks.peers.mlserver_server VERSION_DIR PORT
"""

import asyncio
import sys

from mlserver import MLModel, MLServer
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.saved_model import load


class Digits(MLModel):
    """The SavedModel."""

    async def load(self) -> bool:
        """Load it."""
        self._classify = load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decode, call the model, encode."""
        probabilities = self._classify(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", probabilities)]
        )


async def main() -> None:
    port = int(sys.argv[2])
    server = MLServer(
        Settings(host="127.0.0.1", grpc_port=port, http_port=port + 1, metrics_port=port + 2, parallel_workers=0)
    )
    model = ModelSettings(name="digits", implementation=Digits, parameters=ModelParameters(uri=sys.argv[1]))
    await server.start([model])


asyncio.run(main())
