"""What Istio makes of a rule for Envoy's own RBAC filter, for the attributes that need no certificates and tokens."""

from typing import Any

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions"


def per_route(action: str, rules: list[Json]) -> Json:
    """`typed_per_filter_config` of a route under one AuthorizationPolicy."""
    policies = {f"ns[banking]-policy[p]-rule[{at}]": policy(rule) for at, rule in enumerate(rules)}
    rbac = {"rules": {"action": action, "policies": policies}}
    return {"envoy.filters.http.rbac": {"@type": f"{TYPE}.filters.http.rbac.v3.RBACPerRoute", "rbac": rbac}}


def policy(rule: Json) -> Json:
    """One rule: alternatives of what is asked for, and of who asks; `when` belongs to one of them."""
    headers = [part for each in rule.get("when", []) for part in condition(each)]
    sources = rule.get("from", [{"source": {}}])
    operations = rule.get("to", [{"operation": {}}])
    return {
        "permissions": [
            {"and_rules": {"rules": operation(each["operation"]) or [{"any": True}]}} for each in operations
        ],
        "principals": [
            {"and_ids": {"ids": [*source(each["source"]), *headers] or [{"any": True}]}} for each in sources
        ],
    }


def operation(fields: Json) -> list[Json]:
    makers = {"hosts": host, "methods": lambda value: header(":method", value), "paths": path, "ports": port}
    found = []
    for name, make in makers.items():
        if values := fields.get(name):
            found.append({"or_rules": {"rules": [make(value) for value in values]}})
        if values := fields.get(f"not{name.capitalize()}"):
            found.append({"not_rule": {"or_rules": {"rules": [make(value) for value in values]}}})
    return found


def source(fields: Json) -> list[Json]:
    found = []
    if values := fields.get("ipBlocks"):
        found.append({"or_ids": {"ids": [block(value) for value in values]}})
    if values := fields.get("notIpBlocks"):
        found.append({"not_id": {"or_ids": {"ids": [block(value) for value in values]}}})
    return found


def condition(entry: Json) -> list[Json]:
    name = entry["key"].removeprefix("request.headers[").removesuffix("]")
    found = []
    if values := entry.get("values"):
        found.append({"or_ids": {"ids": [header(name, value) for value in values]}})
    if values := entry.get("notValues"):
        found.append({"not_id": {"or_ids": {"ids": [header(name, value) for value in values]}}})
    return found


def block(value: str) -> Json:
    prefix, _, length = value.partition("/")
    return {"direct_remote_ip": {"address_prefix": prefix, "prefix_len": int(length or 32)}}


def port(value: str) -> Json:
    return {"destination_port": int(value)}


def host(value: str) -> Json:
    found = header(":authority", value)
    if "string_match" in found["header"]:
        found["header"]["string_match"]["ignore_case"] = True
    return found


def header(name: str, value: str) -> Json:
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": string(value)}}


def path(value: str) -> Json:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        config = {"@type": f"{TYPE}.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": template}
        return {"uri_template": {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": config}}
    return {"url_path": {"path": string(value)}}


def string(value: str) -> Json:
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"suffix": value[1:]}
    return {"prefix": value[:-1]} if value.endswith("*") else {"exact": value}
