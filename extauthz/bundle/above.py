"""The profiles under which the requests of a rule can come, and who vouches for callers there. For tools alone."""

from collections.abc import Iterable

from extauthz.bundle.routes import Cover
from extauthz.model.subject import SERVICE
from extauthz.policy.reach.boxes import Box
from extauthz.snapshot import Profile


class Above:
    """Every profile of a bundle, found by route."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._by_name = {profile.name: profile for profile in profiles}
        self.cover = Cover(self._by_name.values())

    def profile(self, name: str) -> Profile:
        """The profile of that name."""
        return self._by_name[name]

    def profiles(self, hosts: tuple[str, ...], path: str) -> list[Profile]:
        """Every profile that some such request may have."""
        return [self._by_name[name] for name in self.cover.profiles(hosts, path)]

    def of_box(self, box: Box) -> list[Profile]:
        """Every profile that some request in the box may have."""
        hosts = ("*",) if box.hosts is None else tuple(host.text for host in box.hosts)
        # The last list is that of `to`, which is within `match` for whatever matches at all.
        paths = [path.text for path in box.paths[-1]] if box.paths else ["/**"]
        return [profile for path in paths for profile in self.profiles(hosts, path)]


def vouching(profiles: Iterable[Profile]) -> set[str]:
    """Who vouches for callers, as `issuers` names them."""
    found: set[str] = set()
    for profile in profiles:
        found.update(issuer.name for issuer in profile.authentication.issuers)
        if profile.authentication.service is not None and profile.authentication.service.instead:
            found.add(SERVICE)
    return found
