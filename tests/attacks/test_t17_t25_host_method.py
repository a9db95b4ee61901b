"""Threats to host, method and protocol."""

import pytest


@pytest.mark.parametrize(
    "host", ["API.bank.test", "api.BANK.test", "api.bank.test.", "api.bank.test:8443", "API.BANK.TEST.:80"]
)
def test_t17_t18_spellings_of_one_host_are_one_host(bank, host):
    """Case, a port and a trailing dot do not move a request out of its profile."""
    assert "policy_denied" == bank.ask("/admin", host=host, token=bank.token()).reason


@pytest.mark.parametrize(
    "host",
    ["user@api.bank.test", "api.bank.test,evil.test", "api.bank.test evil", "", "[::1", "api.bank.test:x", "api..bank.test", "api.bank.test/x",
     "xn--\u00fc.test", "api.bank.test:99999", "api.bank.test\x00"],
)  # fmt: skip
def test_t18_t19_a_host_with_more_than_one_reading_is_refused(bank, host):
    answer = bank.ask("/accounts", host=host, token=bank.token())
    assert (False, "host_invalid") == (answer.allowed, answer.reason)


@pytest.mark.parametrize("host", ["evil.test", "api.bank.test.evil.test", "xapi.bank.test", "127.0.0.1", "[::1]"])
def test_t20_a_host_without_profile_is_refused_whatever_the_token(bank, host):
    """An absolute-form request replaces Host: what arrives is matched exactly, and no profile means no."""
    assert "no_profile" == bank.ask("/accounts", host=host, token=bank.token()).reason


def test_t20_the_sni_decides_nothing(bank):
    def sni(check):
        check.attributes.tls_session.sni = "api.bank.test"

    assert "no_profile" == bank.ask("/accounts", host="evil.test", token=bank.token(), change=sni).reason


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "ftp", "", "javascript"])
def test_t21_the_scheme_the_client_chose_changes_no_decision(bank, scheme):
    def lie(check):
        check.attributes.request.http.scheme = scheme

    token = bank.token()
    headers = {"x-forwarded-proto": "https"}
    assert "policy_denied" == bank.ask("/admin", token=token, headers=headers, change=lie).reason
    assert bank.ask("/accounts", token=token, headers=headers, change=lie).allowed


@pytest.mark.parametrize("method", ["get", "FoO", "", "GET ", "GET\n", "A" * 40, "G\u00cbT", "G,ET"])
def test_t22_methods_that_are_not_upper_case_tokens_are_refused(bank, method):
    answer = bank.ask("/public/x", method=method)
    assert (False, "method_invalid") == (answer.allowed, answer.reason)


@pytest.mark.parametrize(
    "headers", [{"x-http-method-override": "GET"}, {"x-http-method": "GET"}, {"x-method-override": "GET"}]
)
def test_t22_a_method_override_is_no_method_and_does_not_reach_the_upstream(bank, headers):
    """The rule is for GET: a POST stays a POST for us, and the upstream never sees the override of an allowed request."""
    assert not bank.ask("/public/x", method="POST", headers=headers).allowed
    allowed = bank.ask("/accounts", token=bank.token(), headers=headers)
    assert allowed.allowed
    assert set(headers) <= allowed.removed_upstream


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "PROPFIND"])
def test_t22_t23_no_method_is_safe_by_itself(bank, method):
    assert "no_policy_matched" == bank.ask("/public/x", method=method).reason
    assert "no_credential" == bank.ask("/accounts", method=method).reason


def test_t23_connect_is_refused(bank):
    assert not bank.ask("", method="CONNECT", host="api.bank.test:443", token=bank.token()).allowed


def test_t24_a_grpc_call_is_decided_by_its_path_and_refused_in_its_own_words(bank):
    """gRPC and gRPC-web get the same decision; the refusal carries no HTML or JSON problem for a gRPC client."""
    headers = {"content-type": "application/grpc"}
    assert bank.ask("/bank.Accounts/Get", method="POST", token=bank.token(), headers=headers).allowed
    refused = bank.ask("/bank.Accounts/Get", method="POST", headers=headers)
    assert (False, 401) == (refused.allowed, refused.http_status)
    assert "{" not in refused.response.denied_response.body


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "foo/1"])
def test_t25_an_upgrade_header_opens_nothing(bank, upgrade):
    headers = {"connection": "Upgrade", "upgrade": upgrade}
    assert "no_credential" == bank.ask("/accounts", headers=headers).reason
    answer = bank.ask("/accounts", token=bank.token(), headers=headers)
    assert not {"upgrade", "connection"} & set(answer.set_upstream)
