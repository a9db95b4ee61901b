"""Frozen routes: found exactly when one of them covers the request, by a walk that does not look at the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.guards import NEVER, Entry, RouteSpec, compile_route, frozen_routes
from extauthz.guards.frozen_routes import FrozenRoutes
from extauthz.model.moment import Moment, exactly
from extauthz.model.problems import Problem

NOW = 1_800_000_000
NOW_EXACTLY = exactly(NOW)


def an_entry(host: str = "*", path: str = "/**", methods: tuple[str, ...] = (), **times: int) -> Entry:
    problems: list[Problem] = []
    spec = RouteSpec(host=host, path=path, methods=methods or (() if (host, path) != ("*", "/**") else ("GET",)))
    route = compile_route(spec, problems, ())
    assert route is not None, problems
    return Entry(selector="route", value=spec.text, emergency="f-1", route=route, **times)


def found(
    *entries: Entry, host: str = "api.test", path: str = "/a/b", method: str = "GET", now: Moment = NOW_EXACTLY
) -> bool:
    folded = tuple(path.casefold().split("/")[1:]) if path != "/" else ()
    return FrozenRoutes(entries).find(host, folded, method, now) is not None


@pytest.mark.parametrize(
    ("host", "path", "methods", "expected"),
    [
        ("api.test", "/**", (), True),
        ("*.test", "/**", (), True),
        ("*.api.test", "/**", (), False),
        ("web.test", "/**", (), False),
        ("*", "/a/b", (), True),
        ("*", "/a", (), False),
        ("*", "/a/**", (), True),
        ("*", "/a/b/**", (), True),
        ("*", "/a/b/c/**", (), False),
        ("*", "/*/b", (), True),
        ("*", "/{x}/{y}", (), True),
        ("*", "/{x}/{y}/{z}", (), False),
        ("*", "/a/b", ("POST",), False),
        ("*", "/a/b", ("POST", "GET"), True),
    ],
)
def test_a_route_freezes_what_its_pattern_covers(
    host: str, path: str, methods: tuple[str, ...], expected: bool
) -> None:
    assert expected == found(an_entry(host, path, methods))


@pytest.mark.parametrize("path", ["/A/b", "/a/B", "/A/B"])
def test_t_11_in_every_case(path: str) -> None:
    assert found(an_entry(path="/a/b"), path=path)
    assert found(an_entry(path="/a/B"), path=path)


def test_the_root_is_a_path_too() -> None:
    assert found(an_entry(path="/"), path="/")
    assert not found(an_entry(path="/"), path="/a")
    assert found(an_entry("api.test"), path="/")


@pytest.mark.parametrize(
    ("begin", "until", "moment", "expected"),
    [
        (NOW, NOW + 1, exactly(NOW), True),
        (NOW + 1, NOW + 2, exactly(NOW), False),
        (NOW - 1, NOW, exactly(NOW), False),
        (0, NOW, Moment(NOW - 5, NOW + 5), True),
        (NOW + 5, NEVER, Moment(NOW - 5, NOW + 5), True),
        (0, NOW - 5, Moment(NOW - 5, NOW + 5), False),
    ],
)
def test_what_denies_lasts_until_every_clock_says_that_it_is_over(
    begin: int, until: int, moment: Moment, expected: bool
) -> None:
    assert expected == found(an_entry(path="/a/**", begin=begin, until=until), now=moment)


segments = st.sampled_from(["a", "A", "b", "ß", "c"])
hosts = st.sampled_from(["*", "api.test", "*.test", "*.api.test", "web.test"])
tokens = st.lists(st.sampled_from(["a", "B", "%C3%9F", "*", "{x}"]), max_size=3)
methods = st.lists(st.sampled_from(["GET", "POST"]), max_size=2, unique=True).map(tuple)
times = st.sampled_from([0, 5, 10, 15])


@st.composite
def entries(draw: Any) -> Entry:
    parts = draw(tokens)
    if parts.count("{x}") > 1:
        parts = ["*" if part == "{x}" else part for part in parts]
    path = "/" + "/".join([*parts, *(["**"] if draw(st.booleans()) else [])])
    begin = draw(times)
    return an_entry(draw(hosts), path, draw(methods), begin=begin, until=begin + draw(times))


def covers(entry: Entry, host: str, path: tuple[str, ...], method: str, moment: Moment) -> bool:
    """What an entry means, one entry at a time."""
    route = entry.route
    assert route is not None
    folded = tuple(segment.casefold() for segment in path)
    return (
        route.host.match(host) is not None
        and route.path.match(folded) is not None
        and (not route.methods or method in route.methods)
        and entry.begin <= moment.latest
        and moment.earliest < entry.until
    )


@given(
    st.lists(entries(), max_size=10),
    st.sampled_from(["api.test", "web.test", "x.api.test", "test"]),
    st.lists(segments, max_size=4).map(tuple),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.tuples(times, times),
)
def test_something_is_found_exactly_when_an_entry_covers_the_request(
    listed: list[Entry], host: str, path: tuple[str, ...], method: str, clocks: tuple[int, int]
) -> None:
    moment = Moment(min(clocks), max(clocks))
    folded = tuple(segment.casefold() for segment in path)
    entry = FrozenRoutes(listed).find(host, folded, method, moment)
    matching = [each for each in listed if covers(each, host, path, method, moment)]
    assert bool(matching) == (entry is not None)
    assert entry is None or entry in matching


def test_a_lookup_among_10_000_routes_looks_at_no_more_of_them_than_among_10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how many entries are asked whether they are in force."""
    asked: list[object] = []
    real = frozen_routes.first_in_force

    def counted(queue: Any, moment: Moment, subject: Any) -> Entry | None:
        asked.append(queue)
        return real(queue, moment, subject)

    monkeypatch.setattr(frozen_routes, "first_in_force", counted)
    many = FrozenRoutes(
        [an_entry("api.test", f"/a/r{n}/**") for n in range(10_000)] + [an_entry("*", f"/x{n}") for n in range(10_000)]
    )
    assert many.find("api.test", ("a", "r77", "c"), "GET", exactly(NOW)) is not None
    assert many.find("api.test", ("a", "other", "c"), "GET", exactly(NOW)) is None
    assert 1 == len(asked)
