"""The Kubernetes manifests: valid, hardened, and of one mind with each other, the image and the server's options."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from extauthz.app.server import LAST_SECONDS
from extauthz.bundle.read import read_bundle
from extauthz.settings import load_settings
from extauthz.sources import GenerationalTokenCache
from tests.contracts.kustomize import RENDERERS, Manifest, one, render

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
LAYERS = [
    "base",
    "overlays/production",
    "overlays/kept-journal",
    "overlays/bundle-https",
    "overlays/bundle-oci",
    "overlays/candidate",
]
# Custom resources, whose schemas no package ships.
CUSTOM = {"ServiceMonitor"}
VERSIONS = ["1.30", "1.34", "1.37"]


@pytest.fixture(scope="module", autouse=True)
def schemas() -> Iterator[None]:
    """Each is read once: they are megabytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.fixture(scope="module", params=LAYERS)
def layer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=RENDERERS, ids=lambda renderer: renderer.__name__)
def manifests(request: pytest.FixtureRequest, layer: str) -> list[Manifest]:
    renderer: Callable[[Path], list[Manifest]] = request.param
    return renderer(KUBERNETES / layer)


@pytest.fixture(scope="module")
def workload(manifests: list[Manifest], layer: str) -> Manifest:
    return one(manifests, "StatefulSet" if layer.endswith("kept-journal") else "Deployment")


@pytest.fixture(scope="module")
def pod(workload: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_api(manifests: list[Manifest], version: str) -> None:
    """Strictly: an unknown field is an error."""
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the validator's own dependencies
                kubernetes_validate.validate(manifest, version, strict=True)


def test_no_image_floats() -> None:
    """Every image in deploy/ has a version, none is `latest`."""
    for file in DEPLOY.rglob("*.yaml"):
        for image in re.findall(r"^\s*image:\s*(\S+)", file.read_text(), re.MULTILINE):
            assert re.search(r":\d+\.\d+|@sha256:", image), f"{file}: {image}"


def test_pods_hold_no_power(pod: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert (True, 65532) == (context["runAsNonRoot"], context["runAsUser"])
    assert "RuntimeDefault" == context["seccompProfile"]["type"]
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]


def test_the_service_account_has_no_token(manifests: list[Manifest]) -> None:
    assert one(manifests, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_user_is_the_image_s(pod: dict[str, Any]) -> None:
    assert f"\nUSER {pod['securityContext']['runAsUser']}:" in (DEPLOY.parent / "Dockerfile").read_text()


def test_the_image_tag_is_the_package_s_version(pod: dict[str, Any]) -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (DEPLOY.parent / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"extauthz:{version}" == pod["containers"][0]["image"]


def test_every_selector_finds_the_pods(manifests: list[Manifest], workload: Manifest) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    service, budget = one(manifests, "Service"), one(manifests, "PodDisruptionBudget")
    policy = one(manifests, "NetworkPolicy")
    for selector in (
        service["spec"]["selector"],
        workload["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        policy["spec"]["podSelector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in workload["spec"]["template"]["spec"]["topologySpreadConstraints"]),
    ):
        assert selector
        assert selector.items() <= labels


def test_ports_agree_from_config_to_service(manifests: list[Manifest], pod: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(write_config(manifests, tmp_path), {}, [])
    container_ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    addresses = {"grpc-authz": settings.listen.address, "http-admin": settings.admin.address}
    assert {name: f"0.0.0.0:{port}" for name, port in container_ports.items()} == addresses
    service_ports = {port["name"]: port for port in one(manifests, "Service")["spec"]["ports"]}
    assert {name: port["port"] for name, port in service_ports.items()} == container_ports
    assert all(port["targetPort"] == name for name, port in service_ports.items())


def test_every_worker_of_a_pod_is_an_endpoint(manifests: list[Manifest], tmp_path: Path) -> None:
    """The Service leads to one port of each pod, so that there is one worker in it."""
    grpc = [port for port in one(manifests, "Service")["spec"]["ports"] if port["appProtocol"] == "grpc"]
    assert len(grpc) == load_settings(write_config(manifests, tmp_path), {}, []).workers.count


def test_envoy_will_speak_http2_to_the_service(manifests: list[Manifest]) -> None:
    """Without the protocol in name or appProtocol, every Check fails."""
    port = next(p for p in one(manifests, "Service")["spec"]["ports"] if p["port"] == 9000)
    assert ("grpc-authz", "grpc") == (port["name"], port["appProtocol"])


def test_network_policy_names_ports_that_exist(manifests: list[Manifest], pod: dict[str, Any]) -> None:
    names = {port["name"] for port in pod["containers"][0]["ports"]}
    for rule in one(manifests, "NetworkPolicy")["spec"]["ingress"]:
        assert rule["from"], "a rule without `from` lets everybody in"
        assert {port["port"] for port in rule["ports"]} <= names


def test_probes_ask_the_admin_port(pod: dict[str, Any]) -> None:
    container = pod["containers"][0]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("readiness", "liveness", "startup")}
    assert {"http-admin"} == {probe["port"] for probe in probes.values()}
    assert ("/readyz", "/livez", "/livez") == tuple(probe["path"] for probe in probes.values())


def test_the_drain_fits_into_the_grace_period(
    manifests: list[Manifest], workload: Manifest, pod: dict[str, Any], tmp_path: Path
) -> None:
    """SIGTERM, NOT_SERVING, delay, grace, journal sealed: all of it before SIGKILL, and the sidecar stays as long."""
    transport = load_settings(write_config(manifests, tmp_path), {}, []).transport
    drain = transport.drain_delay_seconds + transport.drain_grace_seconds + LAST_SECONDS
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    sidecar = int(json.loads(annotations["proxy.istio.io/config"])["terminationDrainDuration"].removesuffix("s"))
    assert drain < sidecar < pod["terminationGracePeriodSeconds"]


def test_more_pods_than_a_disruption_may_take(manifests: list[Manifest], workload: Manifest, layer: str) -> None:
    least = workload["spec"].get("replicas")
    if layer == "overlays/production":
        assert least is None, "the autoscaler owns the number"
        least = one(manifests, "HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert least >= 2
    assert 0 < one(manifests, "PodDisruptionBudget")["spec"]["minAvailable"] < least


def test_the_autoscaler_scales_what_exists(manifests: list[Manifest], workload: Manifest, layer: str) -> None:
    for scaler in (m for m in manifests if m["kind"] == "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (workload["kind"], workload["metadata"]["name"]) == (target["kind"], target["name"])
        (metric,) = scaler["spec"]["metrics"]
        assert workload["spec"]["template"]["spec"]["containers"][0]["name"] == metric["containerResource"]["container"]


def test_the_service_monitor_scrapes_the_admin_port(manifests: list[Manifest]) -> None:
    for monitor in (m for m in manifests if m["kind"] == "ServiceMonitor"):
        service = one(manifests, "Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert {"http-admin"} == {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}


def test_every_mount_has_its_volume_and_only_the_journal_is_writable(workload: Manifest, pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    mounts = pod["containers"][0]["volumeMounts"]
    assert {mount["name"] for mount in mounts} == volumes | claims
    assert ["/var/lib/extauthz"] == [mount["mountPath"] for mount in mounts if not mount.get("readOnly")]
    assert not any("subPath" in mount for mount in mounts), "a subPath never sees a changed ConfigMap"


def test_orders_of_run_time_outlive_a_restart_of_the_container(manifests: list[Manifest], tmp_path: Path) -> None:
    """`extauthz ctl` works in the pod, and what it orders lies on the volume, beside the journal and not in it."""
    settings = load_settings(write_config(manifests, tmp_path), {}, [])
    for path in (settings.admin.control_socket, settings.revocations.file):
        assert "/var/lib/extauthz" == str(Path(path).parent)


def test_the_memory_that_settings_allow_fits_the_limit(
    manifests: list[Manifest], pod: dict[str, Any], tmp_path: Path
) -> None:
    """A worker of 90 MiB, its caches full, and as much again for a bundle, its successor and a candidate."""
    settings = load_settings(write_config(manifests, tmp_path), {}, [])
    caches = settings.tokens.cache_bytes + settings.introspection.cache_entries * 1024
    limit = int(pod["containers"][0]["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert 2 * 90 + caches / 2**20 < limit


def test_who_shuts_the_network_leaves_open_what_the_server_asks(manifests: list[Manifest]) -> None:
    """Names, the mesh's control plane, issuers and sources of bundles over HTTPS, traces. Redis is the reader's own."""
    egress = one(manifests, "NetworkPolicy")["spec"]["egress"]
    assert {53, 443, 4318, 15012} == {port["port"] for rule in egress for port in rule["ports"]}


def test_the_server_config_fits_the_pod(manifests: list[Manifest], pod: dict[str, Any], tmp_path: Path) -> None:
    """It parses, with what the environment says, and the paths in it are mounted where it says."""
    environ = {variable["name"]: variable["value"] for variable in pod["containers"][0].get("env", [])}
    settings = load_settings(write_config(manifests, tmp_path), environ, [])
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    if settings.bundle.directory:
        assert mounts["bundle"] == settings.bundle.directory
    else:
        fetch = settings.bundle.fetch
        for file in (fetch.token_file, fetch.ca_file, fetch.credentials_file):
            assert not file or file.startswith(mounts["bundle-source"] + "/")
        assert settings.bundle.state_directory.startswith(mounts["journal"] + "/")
        assert settings.bundle.trust.keys, "what comes over a network is signed"
    assert settings.journal.directory.startswith(mounts["journal"] + "/")
    assert f"{mounts['config']}/extauthz.yaml" in pod["containers"][0]["args"]


def test_the_journal_fits_its_volume(manifests: list[Manifest], pod: dict[str, Any], tmp_path: Path) -> None:
    """T-59: a full volume would make every request undecided."""
    journal = load_settings(write_config(manifests, tmp_path), {}, []).journal
    most = journal.segment_bytes * (journal.keep_segments + journal.keep_for_sinks + 1)
    for volume in pod["volumes"]:
        if "emptyDir" in volume:
            assert journal.keep_segments, "without a limit the journal would fill the volume"
            assert most < int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) << 30


def write_config(manifests: list[Manifest], directory: Path) -> Path:
    file = directory / "extauthz.yaml"
    file.write_text(one(manifests, "ConfigMap", "extauthz-config")["data"]["extauthz.yaml"])
    return file


def test_every_yaml_in_deploy_parses() -> None:
    """But for the demo's template, which is filled in first."""
    files = [file for file in DEPLOY.rglob("*.yaml") if file.parent.name != "demo"]
    assert len(files) > 20
    for file in files:
        assert list(yaml.safe_load_all(file.read_text())), file


def test_the_starter_bundle_lets_nothing_in_but_liveness(manifests: list[Manifest]) -> None:
    """It compiles as it stands in the ConfigMap, and its only allow rule is the one for probes."""
    files = {name: text.encode() for name, text in one(manifests, "ConfigMap", "extauthz-bundle")["data"].items()}
    built = read_bundle(files, GenerationalTokenCache(1))
    assert ["allows anyone"] == [warning.message.partition(":")[0] for warning in built.warnings]
    assert ["health"] == [policy.name for policy in built.snapshot.policies.policies]
    modes = {profile.name: profile.authentication.mode for profile in built.snapshot.profiles.profiles}
    assert {"health": "none", "default": "required"} == modes


def test_the_candidate_is_a_whole_bundle_beside_the_live_one(tmp_path: Path) -> None:
    """It is mounted where the environment says, and differs from the live one in what is tried."""
    manifests = render(KUBERNETES / "overlays/candidate")
    (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    settings = load_settings(write_config(manifests, tmp_path), environ, [])
    assert settings.bundle.candidate is not None
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (mounts["bundle"], mounts["candidate"]) == (settings.bundle.directory, settings.bundle.candidate.directory)
    live, candidate = (
        read_bundle(
            {name: text.encode() for name, text in one(manifests, "ConfigMap", config)["data"].items()},
            GenerationalTokenCache(1),
        )
        for config in ("extauthz-bundle", "extauthz-candidate")
    )
    assert {"reports"} == {policy.name for policy in candidate.snapshot.policies.policies} - {
        policy.name for policy in live.snapshot.policies.policies
    }
    assert live.snapshot.revision != candidate.snapshot.revision


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda renderer: renderer.__name__)
def test_components_go_together(renderer: Callable[[Path], list[Manifest]], tmp_path: Path) -> None:
    """As docs/deploy-istio.md puts them: a signed bundle over HTTPS, a candidate beside it, all on volumes that stay."""
    up = os.path.relpath(KUBERNETES, tmp_path)
    chosen = ("bundle-https", "candidate", "kept-journal")
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "extauthz",
        "resources": [f"{up}/base"],
        "components": [f"{up}/components/{name}" for name in chosen],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    manifests = renderer(tmp_path)
    workload = one(manifests, "StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    environ = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    settings = load_settings(write_config(manifests, tmp_path), environ, [])
    assert settings.bundle.candidate is not None
    assert ("", "/etc/extauthz-candidate") == (settings.bundle.directory, settings.bundle.candidate.directory)
    assert settings.bundle.url.startswith("https://")
    assert ["config", "bundle-source", "candidate"] == [volume["name"] for volume in pod["volumes"]]
    assert ["journal"] == [claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert settings.bundle.state_directory.startswith(mounts["journal"] + "/")
