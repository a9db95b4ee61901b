"""Whether a wider host or path can be seen at all under the profiles: what none of them covers is refused anyway."""

from extauthz.bundle.above import Above, vouching
from extauthz.bundle.routes import Cover
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import MANY, PathPattern, parse_pattern
from extauthz.policy import AccessPolicySpec
from extauthz.policy.document import RuleSpec
from extauthz.policy.reach.patterns import hosts_within, path_within


def wider(path: str) -> str | None:
    """The path with its last literal gone, and anything below; None for one that is as wide as can be."""
    steps = path.strip("/").split("/") if path != "/" else []
    if steps and steps[-1] == MANY:
        steps.pop()
    if not steps:
        return None
    steps.pop()
    return "/" + "/".join([*steps, MANY])


def adds_hosts(spec: AccessPolicySpec, above: Above) -> bool:
    """Whether a caller of some rule comes under a profile on a host that `match.hosts` does not name."""
    hosts = _hosts(spec)
    for rule in spec.rules:
        issuers = _issuers(rule)
        for path in dict.fromkeys(rule_paths(spec, rule)):
            for route in above.cover.routes(("*",), path):
                known = any(hosts_within(route.host, host) for host in hosts)
                if not known and (issuers is None or issuers & vouching([above.profile(route.profile)])):
                    return True
    return False


def _issuers(rule: RuleSpec) -> set[str] | None:
    """The issuers of which one must vouch for a caller of the rule; None when any may, or nobody."""
    named = [source.issuers for source in rule.from_ or ()]
    if not named or any(issuers is None or any("*" in issuer for issuer in issuers) for issuers in named):
        return None
    return {issuer for issuers in named for issuer in issuers or ()}


def adds_match_paths(spec: AccessPolicySpec, cover: Cover) -> bool:
    """Whether some rule of the policy, without `match.paths`, covers more of what profiles cover."""
    bare = AccessPolicySpec(effect=spec.effect, match=spec.match.__class__(hosts=spec.match.hosts), rules=spec.rules)
    return any(_adds(rule_paths(spec, rule), rule_paths(bare, rule), spec, cover) for rule in spec.rules)


def adds_path(spec: AccessPolicySpec, before: RuleSpec, after: RuleSpec, cover: Cover) -> bool:
    """Whether the changed rule covers a path that the rule does not, and some profile does; or differs elsewhere."""
    if _but_paths(before) != _but_paths(after):
        return True
    return _adds(rule_paths(spec, before), rule_paths(spec, after), spec, cover)


def _adds(before: list[str], after: list[str], spec: AccessPolicySpec, cover: Cover) -> bool:
    known = [found for path in before if isinstance(found := parse_pattern(path), PathPattern)]
    hosts = spec.match.hosts or ("*",)
    for path in after:
        pattern = parse_pattern(path)
        if not isinstance(pattern, PathPattern) or any(path_within(pattern, each) for each in known):
            continue
        for route in cover.routes(hosts, path):
            if not any(path_within(route.path, each) for each in known):
                return True
    return False


def rule_paths(spec: AccessPolicySpec, rule: RuleSpec) -> list[str]:
    """The paths of a rule: those of `to`, else those of `match`, else all."""
    found = [path for operation in rule.to or () for path in operation.paths or ("/**",)]
    if all(path == "/**" for path in found):
        return list(spec.match.paths or ("/**",))
    return found


def _but_paths(rule: RuleSpec) -> object:
    """What the rule says beside paths that it names."""
    operations = tuple(
        (each.hosts, each.not_hosts, each.methods, each.not_methods, each.ports, each.not_ports, each.not_paths)
        for each in rule.to or ()
    )
    return rule.from_, operations, rule.when, rule.condition


def _hosts(spec: AccessPolicySpec) -> list[HostPattern]:
    return [found for host in spec.match.hosts or ("*",) if isinstance(found := parse_host_pattern(host), HostPattern)]
