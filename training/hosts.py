"""What TF_CONFIG says about the hosts that train together. No TensorFlow.

The format is TensorFlow's: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}. Each host
runs the same `digits train`; the first one exports.
"""

import json
import os
from typing import Any

from client.errors import UsageError


def count() -> int:
    """Count the hosts; 1 without TF_CONFIG. Raises UsageError when it cannot be read."""
    cluster = _config()["cluster"]
    return max(1, len(cluster.get("chief", [])) + len(cluster.get("worker", [])))


def is_chief() -> bool:
    """Tell whether this host exports what all have trained."""
    config = _config()
    return config["type"] == "chief" or not (config["cluster"].get("chief") or config["index"])


def _config() -> dict[str, Any]:
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        roles = {role: list(addresses) for role, addresses in config.get("cluster", {}).items()}
        task = dict(config.get("task", {}))
        return {"cluster": roles, "type": task.get("type"), "index": int(task.get("index", 0))}
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"TF_CONFIG in the environment is not what TensorFlow wants ({error}). Mend or unset it."
        ) from None
