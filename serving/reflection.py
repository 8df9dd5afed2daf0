"""gRPC server reflection (v1alpha, as TensorFlow Serving's): what grpcurl and similar clients ask a server.

Our messages have a package of their own, so that they can live in one process with TensorFlow's. Reflection gives them
out under TensorFlow Serving's names, with the services that our .proto files leave out, in a pool of its own.
"""

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, enable_server_reflection

from client.contract import MODEL_SERVICE, PREDICTION_SERVICE
from client.proto import config_pb2, serving_pb2, tensor_pb2

HEALTH_SERVICE = "grpc.health.v1.Health"
METHODS = {
    PREDICTION_SERVICE: {
        "Predict": ("PredictRequest", "PredictResponse"),
        "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    },
    MODEL_SERVICE: {
        "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
    },
}
"""The methods that are offered; Classify, Regress and MultiInference only say that they are not."""

_OURS = {tensor_pb2: "tensorflow", serving_pb2: "tensorflow.serving", config_pb2: "tensorflow.serving"}
_FOREIGN = ("google/protobuf/any.proto", "google/protobuf/wrappers.proto")
_SERVICES_FILE = "tensorflow_serving/apis/services.proto"


def enable(server: grpc.Server) -> None:
    """Let a server answer for its services."""
    enable_server_reflection((*METHODS, HEALTH_SERVICE, SERVICE_NAME), server, _pool())


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for name in _FOREIGN:
        pool.AddSerializedFile(Default().FindFileByName(name).serialized_pb)
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for module, package in _OURS.items():
        pool.AddSerializedFile(_renamed(module.DESCRIPTOR.serialized_pb, package).SerializeToString())
    pool.AddSerializedFile(_services().SerializeToString())
    return pool


def _renamed(serialized: bytes, package: str) -> FileDescriptorProto:
    """Move a file of ours, and the types that its fields name, into TensorFlow's packages."""
    file = FileDescriptorProto.FromString(serialized)
    file.package = package
    for message in file.message_type:
        _rename_types(message)
    return file


def _rename_types(message: DescriptorProto) -> None:
    for field in message.field:
        for module, package in _OURS.items():
            for name in (*module.DESCRIPTOR.message_types_by_name, *module.DESCRIPTOR.enum_types_by_name):
                old, new = f".{module.DESCRIPTOR.package}.{name}", f".{package}.{name}"
                if field.type_name == old or field.type_name.startswith(f"{old}."):
                    field.type_name = new + field.type_name.removeprefix(old)
    for nested in message.nested_type:
        _rename_types(nested)


def _services() -> FileDescriptorProto:
    package = PREDICTION_SERVICE.rpartition(".")[0]
    dependencies = [module.DESCRIPTOR.name for module in _OURS]
    file = FileDescriptorProto(name=_SERVICES_FILE, package=package, syntax="proto3", dependency=dependencies)
    for service, methods in METHODS.items():
        added = file.service.add(name=service.rpartition(".")[2])
        for method, (asked, answered) in methods.items():
            added.method.add(name=method, input_type=f".{package}.{asked}", output_type=f".{package}.{answered}")
    return file
