"""What Istio's documentation says about AuthorizationPolicy and RequestAuthentication, as simply as it can be said.

An oracle: it shares no line with what imports such documents. Sections refer to the reference pages "Authorization
Policy", "Authorization Policy Conditions", "RequestAuthentication" and "Security best practices".
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

Doc = dict[str, Any]
INVALID = "invalid"  # a token that does not verify


@dataclass
class Asked:
    """One request as Istio's proxy sees it, or a connection when `tcp`."""

    method: str = "GET"
    authority: str = "api.example.com"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    peer: str = ""  # "spiffe://…" or nothing
    source_ip: str = "192.0.2.7"
    remote_ip: str = "192.0.2.7"
    destination_ip: str = "10.0.0.9"
    destination_port: int = 8080
    sni: str = ""
    token: Any = None  # claims, INVALID, or no token
    place: str = "header authorization"  # where the token is sent
    tcp: bool = False
    unknown: bool = False  # what is said of attributes that nobody outside of the proxy can know
    custom: bool = True  # what the external authorizers of CUSTOM policies say


def allows(
    documents: list[Doc], asked: Asked, namespace: str, labels: dict[str, str], root: str = "istio-system"
) -> bool:
    """Whether the request reaches the workload."""
    mine = [each for each in documents if _applies(each, namespace, labels, root)]
    claims = None
    # "Each rule will be activated only when a token is presented at the location recognized by the rule."
    rules = [
        rule
        for each in mine
        if each["kind"] == "RequestAuthentication"
        for rule in each["spec"].get("jwtRules", [])
        if asked.place in _places(rule)
    ]
    if rules and not asked.tcp and asked.token is not None:
        # "It will reject a request if the request contains invalid authentication information"; one without any
        # "will be accepted but will not have any authenticated identity".
        if asked.token == INVALID or not any(_takes(rule, asked.token) for rule in rules):
            return False
        claims = asked.token
    words = {"scope", "permission"} | {
        name
        for rule in rules
        if claims and rule["issuer"] == claims["iss"]
        for name in rule.get("spaceDelimitedClaims", [])
    }
    policies = [each for each in mine if each["kind"] == "AuthorizationPolicy" and not _is_dry_run(each)]
    # The order of evaluation: CUSTOM, DENY, ALLOW.
    by_action: dict[str, list[Doc]] = {}
    for each in policies:
        by_action.setdefault(each["spec"].get("action", "ALLOW"), []).append(each)

    def hit(action: str) -> bool:
        return any(
            _rule_matches(rule, asked, claims, words, each["metadata"]["namespace"], action)
            for each in by_action.get(action, [])
            for rule in each["spec"].get("rules", [])
        )

    if (hit("CUSTOM") and not asked.custom) or hit("DENY"):
        return False
    return "ALLOW" not in by_action or hit("ALLOW")


def _applies(each: Doc, namespace: str, labels: dict[str, str], root: str) -> bool:
    if each["metadata"]["namespace"] not in {namespace, root}:
        return False
    wanted = each["spec"].get("selector", {}).get("matchLabels", {})
    return all(labels.get(name) == value for name, value in wanted.items())


def _is_dry_run(each: Doc) -> bool:
    return each["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true"


def _places(rule: Doc) -> set[str]:
    """By default `Authorization: Bearer` and the query parameter `access_token`."""
    named = {f"header {each['name'].lower()}" for each in rule.get("fromHeaders", [])}
    named |= {f"param {each}" for each in rule.get("fromParams", [])}
    named |= {f"cookie {each}" for each in rule.get("fromCookies", [])}
    return named or {"header authorization", "param access_token"}


def _takes(rule: Doc, claims: Doc) -> bool:
    if "audiences" not in rule:
        return bool(rule["issuer"] == claims["iss"])
    audience = claims.get("aud", [])
    named = audience if isinstance(audience, list) else [audience]
    return rule["issuer"] == claims["iss"] and bool(set(named) & set(rule["audiences"]))


def _rule_matches(rule: Doc, asked: Asked, claims: Doc | None, words: set[str], namespace: str, action: str) -> bool:
    """At least one source, one operation and all conditions."""
    if asked.tcp and action == "ALLOW" and _names_http(rule):
        return False  # "ALLOW rules with HTTP-only fields are ignored for TCP"
    ask = _Ask(asked, claims, words, namespace, action)
    sources = rule.get("from") or [{"source": {}}]
    operations = rule.get("to") or [{"operation": {}}]
    return (
        any(ask.source(each["source"]) for each in sources)
        and any(ask.operation(each["operation"]) for each in operations)
        and all(ask.condition(each) for each in rule.get("when") or [])
    )


def _names_http(rule: Doc) -> bool:
    named = {name for each in rule.get("from") or [] for name in each["source"]}
    named |= {name for each in rule.get("to") or [] for name in each["operation"]}
    http = ("requestPrincipals", "hosts", "methods", "paths")
    negated = {f"not{name[0].upper()}{name[1:]}" for name in http}
    return bool(named & {*http, *negated}) or any(each["key"].startswith("request.") for each in rule.get("when") or [])


class _Ask:
    def __init__(self, asked: Asked, claims: Doc | None, words: set[str], namespace: str, action: str) -> None:
        self.asked, self.claims, self.words, self.namespace, self.action = asked, claims, words, namespace, action

    def source(self, source: Doc) -> bool:
        asked = self.asked
        peer = re.fullmatch(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)", asked.peer)
        account = f"{peer[2]}/{peer[3]}" if peer else ""
        return (
            self.both(source, "principals", lambda wanted: match(wanted, asked.peer.removeprefix("spiffe://")))
            and self.both(source, "namespaces", lambda wanted: match(wanted, peer[2] if peer else ""))
            and self.both(
                source,
                "serviceAccounts",
                lambda wanted: account == (wanted if "/" in wanted else f"{self.namespace}/{wanted}"),
            )
            and self.both(
                source, "requestPrincipals", lambda wanted: match(wanted, self.request_principal()), http=True
            )
            and self.both(source, "ipBlocks", lambda wanted: within(wanted, asked.source_ip))
            and self.both(source, "remoteIpBlocks", lambda wanted: within(wanted, asked.remote_ip))
            and self.both(source, "trustDomains", lambda _: asked.unknown)
        )

    def operation(self, operation: Doc) -> bool:
        asked = self.asked
        return (
            self.both(operation, "hosts", lambda wanted: match(wanted.lower(), asked.authority.lower()), http=True)
            and self.both(operation, "methods", lambda wanted: match(wanted, asked.method), http=True)
            and self.both(
                operation, "paths", lambda wanted: match_path(wanted, asked.path.partition("?")[0]), http=True
            )
            and self.both(operation, "ports", lambda wanted: int(wanted) == asked.destination_port)
        )

    def condition(self, condition: Doc) -> bool:
        key = condition["key"]
        asked = self.asked
        if key.startswith("request.") and asked.tcp:
            return self.action == "DENY"
        values, not_values = condition.get("values"), condition.get("notValues")
        if key.startswith("experimental."):
            return asked.unknown
        found = self.attribute(key)
        if key.endswith(".ip"):
            test = lambda wanted: within(wanted, found[0])  # noqa: E731 - one of two
        else:
            test = lambda wanted: any(match(wanted, each) for each in found)  # noqa: E731
        return (not values or any(map(test, values))) and (not not_values or not any(map(test, not_values)))

    def attribute(self, key: str) -> list[str]:
        asked = self.asked
        peer = re.fullmatch(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)", asked.peer)
        plain = {
            "source.ip": asked.source_ip,
            "remote.ip": asked.remote_ip,
            "destination.ip": asked.destination_ip,
            "destination.port": str(asked.destination_port),
            "source.principal": asked.peer.removeprefix("spiffe://"),
            "source.namespace": peer[2] if peer else "",
            "connection.sni": asked.sni,
            "request.auth.principal": self.request_principal(),
        }
        if key in plain:
            return [plain[key]]
        if key == "request.auth.audiences":
            return self.claim(["aud"])
        if key == "request.auth.presenter":
            return self.claim(["azp"])
        names = re.findall(r"\[([^\]]+)\]", key)
        if names == [":path"]:
            return [asked.path]
        if key.startswith("request.headers"):
            return [value for name, value in asked.headers.items() if name.lower() == names[0].lower()]
        return self.claim(names)

    def claim(self, names: list[str]) -> list[str]:
        """Claims of type string or list of string; nested ones by name."""
        value: Any = self.claims
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):
            return value.split(" ") if len(names) == 1 and names[0] in self.words else [value]
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

    def request_principal(self) -> str:
        return f"{self.claims['iss']}/{self.claims['sub']}" if self.claims else ""

    def both(self, fields: Doc, name: str, test: Any, *, http: bool = False) -> bool:
        """A field and its `not` twin. On a connection an ALLOW never matches HTTP fields, a DENY always does."""
        values, not_values = fields.get(name), fields.get(f"not{name[0].upper()}{name[1:]}")
        if http and self.asked.tcp and (values or not_values):
            return self.action == "DENY"
        return (not values or any(map(test, values))) and (not not_values or not any(map(test, not_values)))


def match(wanted: str, value: str) -> bool:
    """Exact, prefix `abc*`, suffix `*abc`, presence `*`."""
    if not value:
        return False
    if wanted == "*":
        return True
    if wanted.startswith("*"):
        return value.endswith(wanted[1:])
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return value == wanted


def match_path(wanted: str, path: str) -> bool:
    """`{*}` stands for one segment, `{**}` for any number; else as every text."""
    if "{*}" not in wanted and "{**}" not in wanted:
        return match(wanted, path)
    parts = re.split(r"(\{\*\*\}|\{\*\})", wanted)
    pattern = "".join({"{*}": "[^/]+", "{**}": ".*"}.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(pattern, path) is not None


def within(block: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
