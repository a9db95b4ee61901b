"""Renders what deploy/ uses of kustomize: resources, components, config map generators, JSON patches, a namespace.

Enough to check manifests where no kubectl is; anything else in a kustomization is an error here.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "patches", "labels", "components"}


def documents(file: Path) -> list[Manifest]:
    """Every document of a YAML file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document is not None]


def render(directory: Path) -> list[Manifest]:
    """The manifests that `kubectl apply -k` would send, but for hashes in names of config maps."""
    (kustomization,) = documents(directory / "kustomization.yaml")
    found: list[Manifest] = []
    for name in kustomization["resources"]:
        path = (directory / name).resolve()
        found += render(path) if path.is_dir() else documents(path)
    _change(found, directory, kustomization)
    return found


def _change(found: list[Manifest], directory: Path, kustomization: Manifest) -> None:
    """What the kustomization, or the component, in that directory makes of manifests."""
    assert not kustomization.keys() - KNOWN, "extend this renderer, or use less of kustomize"
    for name in kustomization.get("components", []):
        path = (directory / name).resolve()
        (component,) = documents(path / "kustomization.yaml")
        assert (component["kind"], "resources" in component) == ("Component", False)
        _change(found, path, component)
    for generator in kustomization.get("configMapGenerator", []):
        data = {Path(file).name: (directory / file).read_text() for file in generator["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
    for patch in kustomization.get("patches", []):
        operations = yaml.safe_load(patch["patch"] if "patch" in patch else (directory / patch["path"]).read_text())
        targets = [m for m in found if (m["kind"], m["metadata"]["name"]) == tuple(patch["target"].values())]
        assert targets, f"a patch without a target: {patch['target']}"
        for manifest in targets:
            for operation in operations:
                _apply(manifest, operation)
    for manifest in found:
        if "namespace" in kustomization and manifest["kind"] != "Namespace":
            manifest["metadata"].setdefault("namespace", kustomization["namespace"])


def render_with_kubectl(directory: Path) -> list[Manifest]:
    """The real thing."""
    out = subprocess.run(["kubectl", "kustomize", str(directory)], check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(out) if document is not None]


RENDERERS = [render, render_with_kubectl] if shutil.which("kubectl") else [render]


def one(manifests: list[Manifest], kind: str, name: str = "extauthz") -> Manifest:
    """The only manifest of that kind and name; kustomize may have added a hash to the name."""
    (found,) = (
        m
        for m in manifests
        if m["kind"] == kind and (m["metadata"]["name"] == name or m["metadata"]["name"].startswith(f"{name}-"))
    )
    return found


def _apply(manifest: Manifest, operation: dict[str, Any]) -> None:
    """RFC 6902: add, replace or remove one value; what is replaced or removed must be there."""
    *path, last = operation["path"].removeprefix("/").split("/")
    at: Any = manifest
    for step in path:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if isinstance(at, list) and operation["op"] == "add":  # `-` is behind the last
        at.insert(len(at) if last == "-" else int(last), operation["value"])
        return
    key = int(last) if isinstance(at, list) else last
    if operation["op"] != "add":
        at[key]
    if operation["op"] == "remove":
        del at[key]
    else:
        at[key] = operation["value"]
