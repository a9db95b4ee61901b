"""Checks without HTTP: which rules speak about a connection at all."""

import pytest

from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.policy import PolicySet
from tests.unit.policy.bench import policy_set

FRONT = Peer(address="10.1.2.3", principal="spiffe://cluster.local/ns/web/sa/front")


def asked(source: Peer = FRONT, port: int = 5432, sni: str = "db.test") -> Connection:
    target = Peer(address="10.9.9.9", port=port)
    return Connection(Facts(source=source, destination=target, client_address=source.address), source, target, sni)


def reason(made: PolicySet, connection: Connection | None = None) -> Reason:
    return made.evaluate_connection(connection or asked()).reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", True),
        ("{from: [{principals: ['cluster.local/ns/web/*'], ipBlocks: [10.0.0.0/8]}], to: [{ports: [5432]}]}", True),
        ("{from: [{namespaces: [web]}]}", True),
        ("{from: [{serviceAccounts: [web/front], remoteIpBlocks: [10.1.2.3]}]}", True),
        ("{from: [{namespaces: [other]}]}", False),
        ("{to: [{ports: [5433]}]}", False),
        ("{when: [{key: connection.sni, values: [db.test]}, {key: destination.ip, values: [10.9.9.9]}]}", True),
        ("{condition: source.namespace == 'web' && destination.port == 5432 && connection.sni == 'db.test'}", True),
        ("{condition: source.namespace == 'x'}", False),
        ("{condition: source.port / 0 == 1}", False),
        # what a connection does not have never allows
        ("{to: [{methods: [GET]}]}", False),
        ("{to: [{paths: [/**]}]}", False),
        ("{to: [{notPaths: [/x]}]}", False),
        ("{to: [{notMethods: [GET]}]}", False),
        ("{from: [{notRoles: [x]}]}", False),
        ("{from: [{namespaces: [web]}, {roles: [x]}]}", False),
        ("{when: [{key: 'request.headers[x]', notValues: [y]}]}", False),
        ("{condition: request.method == ''}", False),
        ("{condition: '!subject.authenticated'}", False),
        ("{condition: now > timestamp(0)}", False),
        ("{obligations: {removeHeaders: [x-a]}}", False),
    ],
)
def test_allow_rules_name_only_source_and_destination(body: str, expected: bool) -> None:
    made = policy_set(f"{{effect: allow, rules: [{body}]}}")
    assert (Reason.POLICY_ALLOWED if expected else Reason.NO_POLICY_MATCHED) is reason(made)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{from: [{namespaces: [web]}]}", Reason.POLICY_DENIED),
        ("{from: [{namespaces: [other]}]}", Reason.POLICY_ALLOWED),
        ("{from: [{notNamespaces: [web]}]}", Reason.POLICY_ALLOWED),
        # HTTP attributes are left out, so the rule denies more
        ("{from: [{namespaces: [web], roles: [x]}]}", Reason.POLICY_DENIED),
        ("{from: [{namespaces: [other], roles: [x]}]}", Reason.POLICY_ALLOWED),
        ("{from: [{roles: [x]}]}", Reason.POLICY_DENIED),
        ("{to: [{ports: [5433], methods: [GET]}]}", Reason.POLICY_ALLOWED),
        ("{to: [{methods: [GET], paths: [/x]}]}", Reason.POLICY_DENIED),
        ("{when: [{key: 'request.headers[x]', values: [y]}]}", Reason.POLICY_DENIED),
        ("{condition: request.method == 'GET'}", Reason.POLICY_DENIED),
        ("{condition: source.namespace == 'x'}", Reason.POLICY_ALLOWED),
        ("{condition: source.port / 0 == 1}", Reason.CONDITION_ERROR),
    ],
)
def test_deny_rules_are_tried_without_their_http_attributes(body: str, expected: Reason) -> None:
    made = policy_set(f"{{effect: deny, rules: [{body}]}}\n---\n{{effect: allow, rules: [{{}}]}}")
    assert expected is reason(made)


@pytest.mark.parametrize("limit", ["match: {hosts: ['*']}", "match: {paths: [/**]}", "tenant: acme"])
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_policies_for_hosts_paths_or_a_tenant_do_not_speak_about_connections(effect: str, limit: str) -> None:
    made = policy_set(
        f"{{effect: {effect}, {limit}, rules: [{{}}]}}\n---\n{{effect: allow, rules: [{{from: [{{namespaces: [web]}}]}}]}}"
    )
    assert Reason.POLICY_ALLOWED is reason(made)
    assert Reason.NO_POLICY_MATCHED is reason(made, asked(Peer()))


def test_without_policies_a_connection_is_denied() -> None:
    assert Reason.NO_POLICY_MATCHED is reason(PolicySet([]))


def test_an_anonymous_peer_matches_no_principal() -> None:
    made = policy_set("{effect: allow, rules: [{from: [{principals: ['*']}]}]}")
    assert Reason.NO_POLICY_MATCHED is reason(made, asked(Peer(address="10.1.2.3")))
