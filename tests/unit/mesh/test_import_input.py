"""Input that Istio would refuse, or that leaves open which workload is meant, is named and never guessed about."""

import json

import pytest

from extauthz.bundle import BundleError
from extauthz.mesh import ImportOptions, import_istio
from tests.engine import PUBLIC
from tests.unit.mesh.meshes import imported, policy, tokens

WRONG = [
    ("rules: [{from: []}]", "spec.rules[0].from", "an empty list"),
    ("rules: [{to: [{operation: {paths: []}}]}]", "spec.rules[0].to[0].operation.paths", "an empty list"),
    ("rules: [{to: [{operation: {paths: ['']}}]}]", "spec.rules[0].to[0].operation.paths[0]", "an empty value"),
    ("rules: [{when: [{key: source.ip}]}]", "spec.rules[0].when[0]", "`source.ip` is compared with nothing"),
    ("action: CUSTOM, rules: [{}]", "spec.action", "name a `provider`"),
    ("action: CUSTOM, provider: {name: x}", "spec.action", "a CUSTOM policy needs rules"),
    ("provider: {name: x}, rules: [{}]", "spec.provider", "a `provider` needs `action: CUSTOM`"),
    ("selector: {matchlabels: {a: b}}", "spec.selector.matchlabels", "unknown field `matchlabels`, did you mean `matchLabels`?"),
    ("targetRefs: [{kind: Gateway, name: g, section: x}]", "spec.targetRefs[0].section", "unknown field `section`"),
    ("action: PERMIT", "spec.action", "unknown value `PERMIT`"),
    ("rules: [{to: [{operation: {ports: [80]}}]}]", "spec.rules[0].to[0].operation.ports[0]", "expected text, found the number `80`"),
    ("rules: [{from: [{}]}]", "spec.rules[0].from[0].source", "missing"),
    ("rules: {}", "spec.rules", "expected a list"),
    ("selector: {matchLabels: {a: b}}, targetRefs: [{kind: Gateway, name: g}]", "spec", "`selector` and `targetRefs` exclude each other"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "message"), WRONG)
def test_wrong_documents_are_named_by_file_line_and_field(spec: str, field: str, message: str) -> None:
    with pytest.raises(BundleError) as error:
        imported(policy(f"{{{spec}}}"))
    found = error.value.findings[0]
    assert ("mesh.yaml", 4, field) == (found.file, found.line, found.field)
    assert found.message.startswith(message)


def test_a_custom_policy_cannot_be_a_dry_run() -> None:
    """Where one gets past Istio's validation, its proxy denies what the rules match."""
    text = policy("{action: CUSTOM, provider: {name: x}, rules: [{}]}")
    with pytest.raises(BundleError, match="is not for CUSTOM policies"):
        imported(text.replace("banking}", "banking, annotations: {istio.io/dry-run: 'true'}}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x\n", "anchor `&x` is not supported"),
        ("- 1\n", "expected a Kubernetes document"),
        ("kind: List\nitems: 5\n", "expected a list of documents"),
        ("kind: List\nitems: [5]\n", "expected a Kubernetes document"),
        ("apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy\n", "unknown version `security.istio.io/v2`"),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nspec: {}\n",
            "AuthorizationPolicy without `metadata.name`",
        ),
        ("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\n", "no namespace"),
    ],
)
def test_wrong_files_are_named(text: str, message: str) -> None:
    with pytest.raises(BundleError) as error:
        imported(text)
    assert error.value.findings[0].message.startswith(message)


def test_names_that_no_cluster_takes_are_wrong() -> None:
    with pytest.raises(BundleError, match=r"mesh\.yaml:3: metadata\.name: `My_Policy` is no name of Kubernetes"):
        imported(policy("{rules: [{}]}", "My_Policy"))


def test_a_document_in_two_files_is_wrong() -> None:
    text = policy("{rules: [{}]}").encode()
    with pytest.raises(
        BundleError, match=r"b\.yaml:3: metadata\.name: AuthorizationPolicy banking/p is already read from a\.yaml:3"
    ):
        import_istio({"a.yaml": text, "b.yaml": text}, ImportOptions(labels={}))


def test_a_namespace_can_be_given_for_documents_that_name_none() -> None:
    found = imported(policy("{rules: [{}]}").replace(", namespace: banking", ""), default_namespace="banking")
    assert "policies/banking.p.yaml" in found.files


def test_labels_must_be_said_where_a_selector_asks_for_them() -> None:
    """A deny that is left out because nobody said the labels would be a hole."""
    with pytest.raises(BundleError, match=r"say its labels with `--label`, or `--no-labels`: selectors are `app=x`"):
        imported(policy("{action: DENY, rules: [{}], selector: {matchLabels: {app: x}}}"), labels=None)


def test_the_namespace_must_be_said_where_there_are_several() -> None:
    with pytest.raises(BundleError, match="say `--namespace`, one of `banking`, `retail`"):
        imported(policy("{rules: [{}]}"), policy("{rules: [{}]}").replace("banking", "retail"), namespace="")
    assert "banking" == imported(policy("{rules: [{}]}"), namespace="").workload.namespace


@pytest.mark.parametrize(
    ("spec", "namespace", "applies"),
    [
        ("{rules: [{}]}", "banking", True),
        ("{rules: [{}]}", "istio-system", True),
        ("{rules: [{}]}", "retail", False),
        ("{rules: [{}], selector: {matchLabels: {app: accounts}}}", "banking", True),
        ("{rules: [{}], selector: {matchLabels: {app: accounts, tier: gold}}}", "istio-system", False),
        ("{rules: [{}], selector: {}}", "banking", True),
        (
            "{rules: [{}], targetRefs: [{kind: Gateway, name: public, group: gateway.networking.k8s.io}]}",
            "banking",
            True,
        ),
        ("{rules: [{}], targetRef: {kind: Gateway, name: inner}}", "banking", False),
    ],
)
def test_namespace_labels_and_targets_choose_as_in_istio(spec: str, namespace: str, applies: bool) -> None:
    chosen = {"labels": {"app": "accounts", "v": "1"}, "targets": frozenset({("Gateway", "public")})}
    found = imported(
        policy("{}", "base"), policy(spec).replace("namespace: banking", f"namespace: {namespace}"), **chosen
    )
    assert applies == (f"policies/{namespace}.p.yaml" in found.files)
    assert applies != (f"AuthorizationPolicy {namespace}/p" in found.elsewhere)


def test_where_nothing_applies_no_bundle_that_allows_everything_is_made() -> None:
    with pytest.raises(
        BundleError, match="no document applies to the workload with app=loans in namespace `banking`, of 1 read"
    ):
        imported(policy("{rules: [{}], selector: {matchLabels: {app: x}}}"), labels={"app": "loans"})
    with pytest.raises(BundleError, match="no document applies"):
        imported("kind: Service\n")


def test_documents_of_other_kinds_are_counted() -> None:
    found = imported(
        policy("{rules: [{}]}"), "kind: Service\n", "kind: Service\n", "apiVersion: x/v1\nkind: AuthorizationPolicy\n"
    )
    assert {"Service": 2, "AuthorizationPolicy": 1} == found.others


def test_principals_follow_the_trust_domain_of_the_mesh_and_its_aliases() -> None:
    """In policies `cluster.local` stands for the mesh's own trust domain, and each name of it for all of them."""
    spec = "{rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, old.example/ns/c/sa/*, other.example/ns/d/sa/e]}}]}]}"
    found = imported(policy(spec), trust_domains=("bank.example", "old.example"))
    text = found.files["policies/banking.p.yaml"].decode()
    for name in (
        "bank.example/ns/a/sa/b",
        "old.example/ns/a/sa/b",
        "bank.example/ns/c/sa/*",
        "old.example/ns/c/sa/*",
        "other.example/ns/d/sa/e",
    ):
        assert name in text
    assert "cluster.local" not in text


def test_long_names_are_cut_and_stay_apart() -> None:
    names = ["a" * 80, "a" * 80 + "b"]
    found = imported(*(policy("{rules: [{}]}", name) for name in names))
    files = [name for name in found.files if name.startswith("policies/")]
    assert 2 == len(files)
    assert all(len(name.removeprefix("policies/").removesuffix(".yaml")) <= 63 for name in files)


def test_texts_that_yaml_could_take_for_something_else_are_read_back_as_they_were() -> None:
    odd = ["1e3", "yes", "~", "0x1F", "a: b", "- x", "#", "'", '"', "\\", "é", "{a}", "x  y", " x", "true"]
    values = ", ".join("'" + value.replace("'", "''") + "'" for value in odd)
    found = imported(policy(f"{{rules: [{{when: [{{key: 'request.auth.claims[x]', values: [{values}]}}]}}]}}"))
    assert found.is_whole


def test_keys_that_are_written_out_become_a_file() -> None:
    rsa_jwks = json.dumps({"keys": [{**PUBLIC["RS256"], "kid": "k1", "use": "sig"}]})
    rules = f"[{{issuer: https://idp.example/a, audiences: [x], jwks: '{rsa_jwks}'}}]"
    found = imported(policy("{rules: [{}]}"), tokens(rules))
    assert b'"kty": "RSA"' in found.files["keys/idp-example-a.json"]
    assert found.is_whole
