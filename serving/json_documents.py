"""What REST tells of models: their states, the list of them, and their metadata.

The forms are TensorFlow Serving's (tensorflow_serving/model_servers/http_rest_api_util.cc).
"""

from collections.abc import Mapping
from typing import Any

from client.proto.serving_pb2 import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionStatus,
    SignatureDefMap,
)
from serving.dataplane import SIGNATURE_DEF
from serving.errors import STATUSES


def status_document(response: GetModelStatusResponse) -> dict[str, Any]:
    """Give the states of versions, as protobuf's JSON has them: 64-bit numbers are strings."""
    return {
        "model_version_status": [
            {
                "version": str(version.version),
                "state": ModelVersionStatus.State.Name(version.state),
                "status": {
                    "error_code": STATUSES[version.status.error_code],
                    "error_message": version.status.error_message,
                },
            }
            for version in response.model_version_status
        ]
    }


def list_document(models: Mapping[str, GetModelStatusResponse]) -> dict[str, Any]:
    """Give the states of all models; ours."""
    return {"models": [{"name": name} | status_document(response) for name, response in models.items()]}


def metadata_document(response: GetModelMetadataResponse) -> dict[str, Any]:
    """Give a model's signatures; the key `signature_def` is doubled, as in TensorFlow Serving."""
    from google.protobuf.json_format import MessageToDict

    signatures = SignatureDefMap.FromString(response.metadata[SIGNATURE_DEF].value)
    spec, known = (
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for message in (response.model_spec, signatures)
    )
    return {"model_spec": spec, "metadata": {SIGNATURE_DEF: known}}
