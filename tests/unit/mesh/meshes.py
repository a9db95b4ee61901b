"""Documents of Istio for tests, written as short as they can be."""

from typing import Any

from extauthz.mesh import Change, Imported, ImportOptions, import_istio

HEAD = "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: banking}}\nspec: {spec}\n"


def policy(spec: str, name: str = "p") -> str:
    """An AuthorizationPolicy with that `spec`, in line 4."""
    return HEAD.format(kind="AuthorizationPolicy", name=name, spec=spec)


def tokens(rules: str, name: str = "t") -> str:
    """A RequestAuthentication with these `jwtRules`, in line 4."""
    return HEAD.format(kind="RequestAuthentication", name=name, spec=f"{{jwtRules: {rules}}}")


def imported(*documents: str, **options: Any) -> Imported:
    """The import of one file `mesh.yaml`."""
    chosen = ImportOptions(**{"labels": {}, "namespace": "banking", **options})
    return import_istio({"mesh.yaml": "---\n".join(documents).encode()}, chosen)


def told(found: Imported) -> list[tuple[str, str, str]]:
    """Kind, field and message of all changes that are more than notes."""
    return [(each.kind, each.field, each.message) for each in found.changes if each.kind != "note"]


def notes(found: Imported) -> list[Change]:
    """What is good to know."""
    return [each for each in found.changes if each.kind == "note"]
