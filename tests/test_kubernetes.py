"""The manifests, without a cluster: the published schemas, what must agree inside them, the probes on a real server."""

import http.client
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.batches import BATCH
from client.contract import GRPC_PORT, REST_PORT

ROOT = Path(__file__).parent.parent
OLDEST = "1.30"
FILES = ("embedded", "tensorflow_serving")
KINDS = ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]


@pytest.fixture(params=FILES)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The objects that are applied for a server, by their kind."""
    files = [ROOT / "serving/kubernetes" / f"{name}.yaml" for name in (request.param, "service")]
    objects = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    assert [one["kind"] for one in objects] == KINDS
    return {one["kind"]: one for one in objects}


@pytest.fixture
def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["Deployment"]["spec"]["template"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_published_schemas_find_nothing_wrong_or_unknown(manifest, version: str) -> None:
    for one in manifest.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_do_find_a_misspelt_field(manifest) -> None:
    manifest["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest["Deployment"], OLDEST, strict=True)


def test_service_budget_and_scaler_mean_the_deployment(manifest, pod) -> None:
    labels = pod["metadata"]["labels"]
    assert manifest["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifest["Service"]["spec"]["selector"] == labels
    target, deployment = manifest["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"], manifest["Deployment"]
    assert target == {key: deployment[key] for key in ("apiVersion", "kind")} | {"name": deployment["metadata"]["name"]}


def test_the_name_of_the_service_resolves_to_every_pod(manifest, pod) -> None:
    assert manifest["Service"]["spec"]["clusterIP"] == "None"
    ports = {port["name"]: port["port"] for port in manifest["Service"]["spec"]["ports"]}
    assert ports == {"grpc": GRPC_PORT, "rest": REST_PORT}
    assert {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]} == ports


def test_nothing_runs_as_root_or_writes_to_its_own_file_system(pod) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    for container in containers(pod):
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"]
        assert not locked["allowPrivilegeEscalation"]
        assert locked["capabilities"] == {"drop": ["ALL"]}


def test_every_container_says_what_it_needs_and_the_pod_outlives_its_drain(pod) -> None:
    for container in containers(pod):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    wait = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= wait + 10


def test_the_images_are_targets_of_the_dockerfile(pod) -> None:
    targets = {"digits-serving": "serving", "digits-models": "models", "digits-tfs": "tensorflow-serving"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    for container in containers(pod):
        assert f" AS {targets[container['image'].partition(':')[0]]}\n" in dockerfile


def test_the_options_of_the_server_exist_and_admit_what_our_client_sends(pod, digits) -> None:
    given = pod["spec"]["containers"][0]["args"]
    if given[0] == "serve":
        known = digits("serve", "--help").stdout.split()
        options = dict(word.split("=") for word in given if word.startswith("--"))
        assert set(options) <= set(known)
        assert int(options["--max-images"]) >= BATCH
    else:
        *flags, age = given
        assert all(f'"{flag}"' in (ROOT / "Dockerfile").read_text() for flag in flags)
        assert age == "--grpc_channel_arguments=grpc.max_connection_age_ms=300000"


def succeeds(probe: dict[str, Any], endpoints: dict[str, str]) -> bool:
    """Ask a server as the kubelet does."""
    if asked := probe.get("grpc"):
        with grpc.insecure_channel(endpoints["gRPC"]) as channel:
            request = health_pb2.HealthCheckRequest(service=asked["service"])
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
        return answer.status == health_pb2.HealthCheckResponse.SERVING
    if asked := probe.get("httpGet"):
        with closing(http.client.HTTPConnection(endpoints["REST"], timeout=30)) as connection:
            connection.request("GET", asked["path"])
            return connection.getresponse().status == 200
    assert probe["tcpSocket"] == {"port": "grpc"}
    with socket.create_connection(endpoints["gRPC"].split(":"), timeout=30):
        return True


def test_the_probes_succeed_on_a_server_that_serves(pod, endpoints: dict[str, str]) -> None:
    container = pod["spec"]["containers"][0]
    for name in ("startup", "readiness", "liveness"):
        assert succeeds(container[f"{name}Probe"], endpoints), name


@pytest.mark.parametrize("manifest", ["embedded"], indirect=True)
def test_a_server_without_a_model_is_not_ready_and_not_started_again(pod, start, tmp_path: Path) -> None:
    endpoints = start(tmp_path).endpoints
    container = pod["spec"]["containers"][0]
    told = {name: succeeds(container[f"{name}Probe"], endpoints) for name in ("startup", "readiness", "liveness")}
    assert told == {"startup": True, "readiness": False, "liveness": True}
