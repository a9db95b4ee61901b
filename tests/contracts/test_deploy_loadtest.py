"""The manifests of the distributed load test: valid, hardened, and of one mind with locust, the locustfile and the image."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.contracts.kustomize import RENDERERS, Manifest, one

ROOT = Path(__file__).parents[2]
LOADTEST = ROOT / "deploy" / "kubernetes" / "loadtest"
JOBS = ("loadtest-master", "loadtest-worker")


@pytest.fixture(scope="module", params=RENDERERS, ids=lambda renderer: renderer.__name__)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    found: list[Manifest] = request.param(LOADTEST)
    return found


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest, manifests: list[Manifest]) -> Manifest:
    return one(manifests, "Job", request.param)


def pod_of(job: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def arguments(job: Manifest) -> list[str]:
    (container,) = pod_of(job)["containers"]
    return list(container["args"])


def option(job: Manifest, name: str) -> str:
    (value,) = (each.partition("=")[2] for each in arguments(job) if each.startswith(f"--{name}="))
    return str(value)


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_the_load_test_fits_the_api(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kubernetes_validate.validate(manifest, version, strict=True)


def test_load_generators_hold_no_power(manifests: list[Manifest], job: Manifest) -> None:
    pod = pod_of(job)
    context = pod["securityContext"]
    assert (True, 65532, "RuntimeDefault") == (
        context["runAsNonRoot"],
        context["runAsUser"],
        context["seccompProfile"]["type"],
    )
    assert pod["automountServiceAccountToken"] is False
    assert one(manifests, "ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_image_is_the_one_that_is_built_here(job: Manifest) -> None:
    text = (ROOT / "loadtest" / "Dockerfile").read_text()
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    image = f"extauthz-loadtest:{version}"
    assert image == pod_of(job)["containers"][0]["image"]
    assert image in text
    assert f"\nUSER {pod_of(job)['securityContext']['runAsUser']}:" in text
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert f"ARG PYTHON_IMAGE={base}\n" in (ROOT / "Dockerfile").read_text()
    assert "--require-hashes" in text


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    text = (ROOT / "loadtest" / "Dockerfile").read_text()
    sources = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    ignored = (ROOT / "loadtest" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_s_requirements_are_those_that_tests_run_with() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text()
        return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z]+\])?==(\S+)", text, re.MULTILINE))

    wanted, tested = pins("loadtest.txt"), pins("dev.txt")
    assert {"locust", "matplotlib"} <= wanted.keys()
    assert wanted.items() <= tested.items()


def test_as_many_clients_as_the_master_waits_for_and_users_share_the_rate(manifests: list[Manifest]) -> None:
    master, workers = (one(manifests, "Job", name) for name in JOBS)
    clients = workers["spec"]["parallelism"]
    assert clients == workers["spec"]["completions"]
    assert {str(clients)} == {option(master, name) for name in ("expect-workers", "users", "spawn-rate", "share")}


def test_the_master_is_where_clients_look_for_it(manifests: list[Manifest]) -> None:
    master, workers = (one(manifests, "Job", name) for name in JOBS)
    service = one(manifests, "Service", option(workers, "master-host"))
    labels = master["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    (listening,) = pod_of(master)["containers"][0]["ports"]
    assert (option(workers, "master-port"), listening["name"]) == (str(port["port"]), port["targetPort"])
    assert port["port"] == listening["containerPort"]


def test_keys_are_mounted_where_the_clients_look(manifests: list[Manifest]) -> None:
    master, workers = (one(manifests, "Job", name) for name in JOBS)
    mounts = {mount["mountPath"]: mount for mount in pod_of(workers)["containers"][0]["volumeMounts"]}
    assert mounts[option(master, "keys")]["readOnly"] is True


def test_clients_may_reach_the_master_and_the_gateway_alone(manifests: list[Manifest], job: Manifest) -> None:
    policy = one(manifests, "NetworkPolicy", "loadtest")
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert job["spec"]["template"]["metadata"]["labels"][expression["key"]] in expression["values"]
    assert all(rule["to"] for rule in policy["spec"]["egress"])
    assert {"Ingress", "Egress"} == set(policy["spec"]["policyTypes"])


def test_locust_takes_the_arguments_as_they_are(job: Manifest) -> None:
    """The real locust parses them with the real locustfile, and lists its users instead of running."""
    given = [each for each in arguments(job) if not each.endswith("User")]
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), *given, "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    assert {each for each in arguments(job) if each.endswith("User")} <= set(done.stdout.split())


def test_a_job_ends_by_itself(job: Manifest) -> None:
    assert job["spec"]["activeDeadlineSeconds"] <= 3600
    assert "Never" == pod_of(job)["restartPolicy"]


def test_yaml_of_the_load_test_is_all_used() -> None:
    (kustomization,) = yaml.safe_load_all((LOADTEST / "kustomization.yaml").read_text())
    assert {file.name for file in LOADTEST.glob("*.yaml")} == {"kustomization.yaml", *kustomization["resources"]}
