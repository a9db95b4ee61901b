"""The profile of a route is the same whether it is looked up for the first time or found in memory."""

import gc

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz import snapshot
from extauthz.identity import Authentication
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.snapshot import AmbiguousProfile, Profile, ProfileIndex
from tests.fakes import a_request

NOBODY = Authentication("none", (), {})
HOSTS = ["a.test", "b.a.test", "c.test"]
SEGMENTS = ["api", "API", "Api", "admin", "x", "stra%C3%9Fe", "strasse"]


def host(text: str) -> HostPattern:
    found = parse_host_pattern(text)
    assert isinstance(found, HostPattern), found
    return found


def path(text: str) -> PathPattern:
    found = parse_pattern(text)
    assert isinstance(found, PathPattern), found
    return found


def profile(name: str, hosts: list[str], paths: list[str]) -> Profile:
    return Profile(name, tuple(map(host, hosts)), tuple(map(path, paths)), NOBODY)


patterns = st.lists(st.sampled_from([*SEGMENTS[:4], "strasse", "*", "**", "{id}"]), max_size=3).map(
    lambda tokens: "/" + "/".join(token for at, token in enumerate(tokens) if token not in tokens[:at])
)
profiles = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*HOSTS, "*.test", "*.a.test", "{t}.test", "*"]), min_size=1, max_size=3),
        st.lists(patterns, min_size=1, max_size=3),
    ),
    max_size=5,
)
routes = st.tuples(st.sampled_from([*HOSTS, "z.test"]), st.lists(st.sampled_from(SEGMENTS), max_size=3))


@given(profiles, st.lists(routes, max_size=12))
@settings(max_examples=300)
def test_a_profile_found_in_memory_is_the_one_that_a_search_finds(found, asked):
    index = ProfileIndex(tuple(profile(f"p{at}", *each) for at, each in enumerate(found)))
    for name, segments in (*asked, *asked):
        request = a_request(path="/" + "/".join(segments), host=name)
        position = index._search(name, request.segments, tuple(s.casefold() for s in request.segments))
        expected = {-1: None, -2: AmbiguousProfile()}.get(position, index.profiles[position] if position >= 0 else 0)
        assert expected == index.find(request)


def test_t11_a_path_in_another_case_is_as_ambiguous_the_second_time():
    index = ProfileIndex((profile("strict", ["a.test"], ["/admin/**"]), profile("rest", ["a.test"], ["/**"])))
    for _ in range(2):
        assert "strict" == index.find(a_request(path="/admin/x", host="a.test")).name
        assert AmbiguousProfile() == index.find(a_request(path="/ADMIN/x", host="a.test"))
        assert "rest" == index.find(a_request(path="/x/admin", host="a.test")).name
        assert index.find(a_request(path="/admin", host="b.test")) is None


def test_places_are_bounded_and_invisible_to_the_collector():
    """A client that names ever other hosts fills no memory and causes no pause."""
    index = ProfileIndex((profile("all", ["*.test"], ["/**"]),))
    for number in range(snapshot._MAX_PLACES + 100):
        assert index.find(a_request(path=f"/{number}/x", host=f"h{number}.test")) is not None
    assert len(index._known) <= snapshot._MAX_PLACES
    gc.collect()
    young = index._known.young
    assert not any(gc.is_tracked(item) for pair in young.items() for item in pair)
    assert not any(gc.is_tracked(place.shape) for place in young)
    assert not gc.is_tracked(young)
