"""Ray Serve with its gRPC proxy and TensorFlow Serving's own service: the usual replica.

python -m benchmarks.peers.ray_server VERSION_DIR PORT
"""

import signal
import sys
from pathlib import Path

from benchmarks.usual_replica import deployed

port = int(sys.argv[2])
with deployed(Path(sys.argv[1]), port, port + 1):
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
