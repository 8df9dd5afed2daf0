"""FastAPI on uvicorn, raw bytes in and out: the leanest form of what many projects run.

python -m benchmarks.peers.fastapi_server VERSION_DIR PORT
"""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.peers.saved_model import load

app = FastAPI()
classify = load(sys.argv[1])


@app.post("/predict")
async def predict(request: Request) -> Response:
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, 28, 28)
    return Response(classify(images).tobytes(), media_type="application/octet-stream")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=False, log_level="warning")
