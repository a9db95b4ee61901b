"""Threats to the path and the URL. A clerk may reach everything but /admin; each spelling of it must end in a no."""

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_the_clerk_reaches_what_is_not_admin_and_not_admin_itself(bank):
    """The yardstick for all below: without it every refusal would prove nothing."""
    token = bank.token()
    assert bank.ask("/accounts/1?x=1", token=token).allowed
    assert "policy_denied" == bank.ask("/admin", token=token).reason
    assert bank.ask("/admin/users", token=bank.token(roles=["clerk", "admin"])).allowed


@pytest.mark.parametrize("path", ["/x//admin", "/admin//users", "/a//"])
def test_t01_an_empty_segment_is_refused_because_others_merge_slashes(bank, path):
    answer = bank.ask(path, token=bank.token())
    assert (False, 400, "path_ambiguous", "T-01") == (
        answer.allowed, answer.http_status, answer.reason, answer.decision.check,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/%2fadmin", "/x%2f..%2fadmin", "/%5cadmin", "/x%5C..%5Cadmin", "/\\admin", "/x\\..\\admin"]
)
def test_t02_encoded_and_back_slashes_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize(
    "path", ["/./admin", "/x/../admin", "/%2e/admin", "/x/%2e%2e/admin", "/x/.%2e/admin", "/admin/..", "/."]
)
def test_t03_dot_segments_are_refused_in_every_encoding(bank, path):
    answer = bank.ask(path, token=bank.token())
    assert ("path_ambiguous", "T-03") == (answer.reason, answer.decision.check)


@pytest.mark.parametrize("path", ["/..;/admin", "/.;/admin", "/%2e%2e;/admin", "/x/..;a=b/admin", "/..%3b/admin"])
def test_t04_dot_segments_with_parameters_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/admin;x", "/;x/admin", "/admin;jsessionid=1/users", "/admin%3bx"])
def test_t05_path_parameters_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/admin#x", "/x#/../admin", "/admin%23x", "/x?a#b"])
def test_t06_fragments_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/admin?x=/public", "/admin?/../accounts", "/admin??", "/admin?", "/admin/?x=1"])
def test_t07_the_query_takes_no_part_in_matching_the_path(bank, path):
    assert "policy_denied" == bank.ask(path, token=bank.token()).reason
    assert bank.ask("/accounts?x=/../admin&y=?/admin", token=bank.token()).allowed


@pytest.mark.parametrize(
    "path", ["/%2561dmin", "/%252e%252e/admin", "/x%252f..%252fadmin", "/%2525", "/x%zz", "/a%", "/a%2"]
)
def test_t08_double_and_broken_encodings_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/%c0%afadmin", "/%e0%80%afadmin", "/!!admin", "/adm\u012bn", "/%ff", "/%ed%a0%80"])
def test_t09_overlong_and_raw_bytes_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/%00", "/admin%00.png", "/a%0d%0ab", "/a%0ab", "/a%7f", "/a%09b"])
def test_t10_control_characters_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/ADMIN", "/Admin/users", "/%41dmin", "/aDmIn/"])
def test_t11_a_deny_rule_covers_every_letter_case(bank, path):
    """An upstream that ignores case would serve /admin: the deny rule matches in any case."""
    assert "policy_denied" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["/adm%C4%B1n", "/adm%C4%B0n", "/%C4%B1/x"])
def test_t11_letters_that_other_case_mappings_turn_into_ascii_are_refused(bank, path):
    """The dotless and the dotted Turkish i: upper- or lower-casing makes an ASCII letter of them."""
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason
    assert bank.ask("/stra%C3%9Fe/%C3%A9t%C3%A9", token=bank.token()).allowed


@pytest.mark.parametrize(
    "path", ["/admin%20", "/%20admin", "/admin.", "/admin%2e", "/adm%e2%80%8bin", "/%ef%bd%81dmin", "/admin%c2%a0"]
)
def test_t11_invisible_trimmed_and_compatibility_characters_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


def test_t11_a_trailing_slash_is_the_same_path_for_rules(bank):
    assert "policy_denied" == bank.ask("/admin/", token=bank.token()).reason


def test_t11_letter_case_cannot_move_a_request_under_a_weaker_profile(bank):
    """/public needs no token; /PUBLIC would fall under the stricter profile on one side only, so it is refused."""
    assert bank.ask("/public/x").allowed
    assert "path_ambiguous" == bank.ask("/PUBLIC/x", token=bank.token()).reason


@pytest.mark.parametrize("path", ["//api.bank.test/admin", "//evil/admin", "http://api.bank.test/admin", "http:/admin"])
def test_t12_t13_authority_and_absolute_forms_are_refused(bank, path):
    assert "path_ambiguous" == bank.ask(path, token=bank.token()).reason


@pytest.mark.parametrize("path", ["", "*", "admin", "?x", "api.bank.test:443", " /admin", "/a b"])
def test_t13_whatever_is_not_origin_form_is_refused_without_a_crash(bank, path):
    assert "path_ambiguous" == bank.ask(path, method="CONNECT" if ":" in path else "GET", token=bank.token()).reason


def test_t14_wildcards_stand_for_whole_segments_and_a_dot_is_a_dot(bank):
    """`/admin/**` covers any depth; a look-alike sibling is another path; nothing in a pattern is a regular expression."""
    token = bank.token()
    assert "policy_denied" == bank.ask("/admin/" + "x/" * 60, token=token).reason
    assert bank.ask("/administrator", token=token).allowed
    assert bank.ask("/public/a.b").allowed


def test_t15_non_utf8_header_bytes_do_not_slip_past_a_deny_rule(bank):
    """Envoy shows such bytes as `!`; in `header_map` mode they arrive raw. Neither may turn into an accident."""
    answer = bank.ask(
        "/accounts", token=bank.token(), raw_headers=[("x-channel", b"blocked"), ("x-other", b"\xff\xfe")]
    )
    assert "policy_denied" == answer.reason
    answer = bank.ask("/accounts", token=bank.token(), raw_headers=[("x-channel", b"\xffblocked,blocked")])
    assert not answer.allowed


def test_t16_an_answer_never_moves_a_request_to_another_route(bank):
    """No allow rewrites :path, :authority or the method, nor clears the route cache by itself."""
    answer = bank.ask("/accounts", token=bank.token())
    assert not {name for name in answer.set_upstream if name.startswith(":") or name == "host"}


@given(st.text(max_size=40))
def test_t01_to_t13_any_text_behind_admin_never_opens_it(bank, text):
    """Whatever follows /admin/, a clerk is refused: by a rule or because it is ambiguous."""
    assert not bank.ask("/admin/" + text.replace("\ud800", ""), token=None, headers={"x": "y"}).allowed
