"""What Envoy sends becomes one request, or a refusal that names the threat. Built by the second implementation."""

import pytest

from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, ForwardedCertificate, Refused, Request
from extauthz.wire import InboundOptions, read_check
from extauthz.wire.encode import nested
from extauthz.wire.twin import Check, Peer, build_check, build_connection, check_from_json

DEFAULT = InboundOptions()
BOTH_MODES = pytest.mark.parametrize("raw_headers", [False, True], ids=["map", "list"])
UUID = "6F1c9d3e-1111-2222-3333-444444444444"


def read(check, options=DEFAULT):
    return read_check(build_check(check), options)


@BOTH_MODES
def test_every_field_that_decides_is_read(raw_headers):
    check = Check(
        method="POST",
        path="/api/customers/7?limit=5",
        host="API.Bank.test:8443",
        request_id="1234567890",
        headers=(("x-channel", "mobile"), ("Content-Type", "application/json"), ("x-fapi-interaction-id", UUID)),
        raw_headers=raw_headers,
        body=b'{"amount": 5}',
        source=Peer(
            address="10.0.0.7", port=4711, principal="spiffe://cluster.local/ns/web/sa/front", certificate="PEM"
        ),
        destination=Peer(address="10.0.0.8", port=8080, principal="spiffe://cluster.local/ns/bank/sa/api"),
        extensions={"listener": "edge", "a": "b"},
        metadata={"envoy.filters.http.jwt_authn": {"payload": {"sub": "u", "n": [1, True, None]}}},
        route_metadata={"route": {"name": "r1"}},
        sni="api.bank.test",
    )

    request = read(check)

    assert isinstance(request, Request)
    assert ("POST", "api.bank.test", 8443, "https") == (request.method, request.host, request.port, request.scheme)
    assert ("/api/customers/7", ("api", "customers", "7"), "limit=5") == (request.path, request.segments, request.query)
    assert "mobile" == request.headers.get("x-channel")
    assert request.headers.get("x-nothing") is None
    assert [("content-type", "application/json"), ("x-channel", "mobile"), ("x-fapi-interaction-id", UUID)] == (
        request.headers.items()
    )
    assert ("10.0.0.7", 4711, "PEM") == (request.source.address, request.source.port, request.source.certificate)
    assert "spiffe://cluster.local/ns/web/sa/front" == request.source.principal
    assert "spiffe://cluster.local/ns/bank/sa/api" == request.destination.principal
    assert b'{"amount": 5}' == request.body
    assert not request.body_is_partial
    assert "api.bank.test" == request.sni
    assert (("a", "b"), ("listener", "edge")) == request.extensions
    assert (("envoy.filters.http.jwt_authn", b'{"payload":{"n":[1.0,true,null],"sub":"u"}}'),) == request.metadata
    assert (("route", b'{"name":"r1"}'),) == request.route_metadata
    facts = request.facts
    assert ("1234567890", "POST", "api.bank.test", "HTTP/2") == (
        facts.request_id,
        facts.method,
        facts.host,
        facts.protocol,
    )
    assert (UUID, "10.0.0.7", False) == (facts.interaction_id, facts.client_address, facts.is_grpc)


def test_a_check_without_http_asks_about_a_connection():
    connection = read_check(
        build_connection(Peer(address="10.0.0.7", principal="spiffe://a/b"), Peer(address="10.0.0.8", port=5432), "db"),
        DEFAULT,
    )

    assert isinstance(connection, Connection)
    assert ("spiffe://a/b", "10.0.0.8", 5432, "db") == (
        connection.source.principal,
        connection.destination.address,
        connection.destination.port,
        connection.sni,
    )
    assert "10.0.0.7" == connection.facts.client_address


@pytest.mark.parametrize("raw", [b"", b"\x00", b"garbage", b"\xff" * 40, b"\x0a\x05", b"\x12\x03abc"])
def test_t62_bytes_that_are_no_check_are_refused(raw):
    refused = read_check(raw, DEFAULT)

    assert (Reason.REQUEST_MALFORMED, "T-62") == (refused.reason, refused.check)


def test_t62_a_peer_that_fills_both_header_forms_is_refused():
    both = check_from_json(
        '{"attributes":{"request":{"http":{"method":"GET","path":"/","host":"a","headers":{"x":"1"},'
        '"headerMap":{"headers":[{"key":"x","rawValue":"Mg=="}]}}}}}',
    )
    twice = check_from_json(
        '{"attributes":{"request":{"http":{"method":"GET","path":"/","host":"a",'
        '"headerMap":{"headers":[{"key":"x","value":"1","rawValue":"Mg=="}]}}}}}',
    )

    assert Reason.REQUEST_MALFORMED is read_check(both, DEFAULT).reason
    assert Reason.REQUEST_MALFORMED is read_check(twice, DEFAULT).reason


def test_t62_a_deeply_nested_struct_is_refused():
    value = nested(b"\x1a", b"x")
    for _ in range(120):
        struct = nested(b"\x0a", nested(b"\x0a", b"a") + nested(b"\x12", value))
        value = nested(b"\x2a", struct)
    metadata = nested(b"\x0a", nested(b"\x0a", b"ns") + nested(b"\x12", struct))
    raw = nested(b"\x0a", nested(b"\x22", nested(b"\x12", b"")) + nested(b"\x5a", metadata))

    assert Reason.REQUEST_MALFORMED is read_check(raw, DEFAULT).reason


def test_missing_peers_read_as_nobody():
    request = read_check(
        check_from_json('{"attributes":{"request":{"http":{"method":"GET","path":"/","host":"a"}}}}'),
        DEFAULT,
    )

    assert ("", 0, "") == (request.source.address, request.source.port, request.source.principal)


@BOTH_MODES
@pytest.mark.parametrize("path", ["//admin", "/a%2fb", "/a/../b", "/a;b", "/%2561", "*", ""])
def test_t01_to_t13_an_ambiguous_path_is_refused_in_both_header_modes(path, raw_headers):
    refused = read(Check(path=path, raw_headers=raw_headers))

    assert isinstance(refused, Refused)
    assert Reason.PATH_AMBIGUOUS is refused.reason


def test_t09_a_raw_byte_in_the_path_is_told_from_an_exclamation_mark_only_by_the_raw_header():
    assert "T-09" == read(Check(path="/wow!")).check
    assert "/wow!" == read(Check(path="/wow!", raw_headers=True)).path
    assert "T-09" == read(Check(path=b"/wow\xc0", raw_headers=True)).check
    assert "T-09" == read(Check(path=b"/wow\xc0")).check
    assert "T-09" == read(Check(path="/caf\u00e9", raw_headers=True)).check


def test_t62_a_raw_path_that_contradicts_the_path_is_refused():
    raw = check_from_json(
        '{"attributes":{"request":{"http":{"method":"GET","path":"/a","host":"a",'
        '"headerMap":{"headers":[{"key":":path","rawValue":"L2I="}]}}}}}',
    )

    assert (Reason.PATH_AMBIGUOUS, "T-62") == (read_check(raw, DEFAULT).reason, read_check(raw, DEFAULT).check)


@pytest.mark.parametrize("method", ["get", "", "G T", "GET\r\n", "A" * 21, "FO!", "G\u00c9T", "1GET"])
def test_t22_an_unusual_spelling_of_a_method_is_refused(method):
    refused = read(Check(method=method))

    assert (Reason.METHOD_INVALID, "T-22") == (refused.reason, refused.check)
    assert "" == refused.facts.method


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "PROPFIND", "FOO", "TRACE", "A" * 20])
def test_t22_any_token_in_upper_case_is_a_method_for_policies_to_judge(method):
    assert method == read(Check(method=method)).method


@pytest.mark.parametrize(("host", "check"), [("a,b", "T-19"), ("user@a", "T-18"), ("", "T-18"), ("a b", "T-18")])
def test_t18_t19_a_host_with_two_readings_is_refused(host, check):
    refused = read(Check(host=host))

    assert (Reason.HOST_INVALID, check, "") == (refused.reason, refused.check, refused.facts.host)


def test_t21_only_the_two_schemes_survive_and_in_lower_case():
    assert "https" == read(Check(scheme="HTTPS")).scheme
    assert "" == read(Check(scheme="ftp")).scheme


SINGLE = ["content-type", "dpop", "host", "x-fapi-interaction-id", "x-fapi-financial-id", "x-fapi-customer-ip-address"]


@BOTH_MODES
@pytest.mark.parametrize("name", SINGLE)
def test_t26_a_security_header_sent_twice_is_refused(name, raw_headers):
    refused = read(Check(headers=((name, "a"), (name, "b")), raw_headers=raw_headers))

    assert (Reason.HEADER_REPEATED, "T-26") == (refused.reason, refused.check)


@BOTH_MODES
def test_t26_a_configured_header_sent_twice_is_refused(raw_headers):
    check = Check(headers=(("x-tenant-id", "acme"), ("x-tenant-id", "globex")), raw_headers=raw_headers)

    assert isinstance(read(check), Request)
    assert Reason.HEADER_REPEATED is read(check, InboundOptions(single_headers=("x-tenant-id",))).reason


def test_t26_a_date_with_its_comma_is_one_value_and_twice_is_told_by_the_list():
    date = "Sun, 10 Sep 2017 19:43:31 GMT"

    assert isinstance(read(Check(headers=(("x-fapi-auth-date", date),))), Request)
    twice = Check(headers=(("x-fapi-auth-date", date), ("x-fapi-auth-date", date)), raw_headers=True)
    assert Reason.HEADER_REPEATED is read(twice).reason


def test_t26_a_comma_inside_quotes_does_not_make_a_second_value():
    assert isinstance(read(Check(headers=(("content-type", 'multipart/mixed; boundary="a,b"'),))), Request)


@BOTH_MODES
def test_t37_authorization_sent_twice_is_marked_and_left_to_identity(raw_headers):
    request = read(
        Check(headers=(("authorization", "Bearer a"), ("authorization", "Bearer b")), raw_headers=raw_headers)
    )

    assert request.headers.is_repeated("authorization")
    assert "Bearer a,Bearer b" == request.headers.get("authorization")


@BOTH_MODES
def test_lines_of_an_ordinary_header_are_joined_in_order(raw_headers):
    request = read(Check(headers=(("x-a", "1"), ("x-b", ""), ("x-a", "2")), raw_headers=raw_headers))

    assert ("1,2", "") == (request.headers.get("x-a"), request.headers.get("x-b"))


def test_t15_bytes_that_are_no_text_never_equal_what_a_policy_names():
    check = Check(headers=(("x-a", b"adm\xffin"), ("x-b", b"\xc3\xa9")), raw_headers=True)

    assert "adm\ufffdin" == read(check).headers.get("x-a")
    assert "\u00e9" == read(check).headers.get("x-b")
    assert "adm!in" == read(Check(headers=(("x-a", b"adm\xffin"),))).headers.get("x-a")


@BOTH_MODES
def test_t67_a_body_is_read_in_either_packing_and_its_partial_marker_counts(raw_headers):
    marker = "x-envoy-auth-partial-body"
    partial = Check(body=b"0123", headers=((marker, "true"),), raw_headers=raw_headers)
    whole = Check(body=b"\xff\x00", pack_as_bytes=True, headers=((marker, "false"),), raw_headers=raw_headers)
    odd = Check(body=b"x", headers=((marker, "True"),), raw_headers=raw_headers)

    assert (b"0123", True) == (read(partial).body, read(partial).body_is_partial)
    assert (b"\xff\x00", False) == (read(whole).body, read(whole).body_is_partial)
    assert read(odd).body_is_partial
    assert read(Check(raw_headers=raw_headers)).body is None


def test_t67_two_bodies_are_refused():
    raw = check_from_json(
        '{"attributes":{"request":{"http":{"method":"GET","path":"/","host":"a","body":"x","rawBody":"eQ=="}}}}',
    )

    assert Reason.REQUEST_MALFORMED is read_check(raw, DEFAULT).reason


FORWARDED_FOR = [
    (0, "1.1.1.1", "10.0.0.7"),
    (1, "1.1.1.1", "1.1.1.1"),
    (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
    (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
    (2, "1.1.1.1", ""),
    (1, "", ""),
    (1, "unknown", ""),
    (1, "1.1.1.1,", ""),
    (1, "fe80::1%eth0", ""),
    (1, "::ffff:1.1.1.1", "1.1.1.1"),
    (1, "2001:DB8:0::1", "2001:db8::1"),
    (1, "1.1.1.1:80", ""),
]


@pytest.mark.parametrize(("hops", "header", "address"), FORWARDED_FOR)
def test_t34_the_client_address_is_counted_from_the_right(hops, header, address):
    check = Check(headers=(("x-forwarded-for", header),), source=Peer(address="10.0.0.7"))

    assert address == read(check, InboundOptions(xff_trusted_hops=hops)).facts.client_address


def test_t34_unix_sockets_internal_listeners_and_mapped_addresses_are_no_other_address():
    assert "/run/envoy.sock" == read(Check(source=Peer(address="/run/envoy.sock"))).source.address
    assert "10.0.0.7" == read(Check(source=Peer(address="::FFFF:10.0.0.7"))).source.address
    internal = check_from_json(
        '{"attributes":{"source":{"address":{"envoyInternalAddress":{"serverListenerName":"waypoint","endpointId":"e"}}},'
        '"destination":{"address":{"pipe":{"path":"10.0.0.1"}}},'
        '"request":{"http":{"method":"GET","path":"/","host":"a"}}}}',
    )
    request = read_check(internal, DEFAULT)
    assert ("envoy://waypoint/e", "") == (request.source.address, request.destination.address)


def test_t33_the_service_a_client_claims_to_be_is_not_read():
    request = read(Check(source=Peer(address="10.0.0.7", service="admin")))

    assert "admin" not in str(request.source)


@BOTH_MODES
@pytest.mark.parametrize(
    ("sent", "kept"),
    [(UUID, UUID), (UUID + " ", ""), ("{" + UUID + "}", ""), ("x", ""), ("0" * 8 + "-0000-0000-0000-" + "0" * 12, "")],
)
def test_an_interaction_id_is_kept_only_if_it_is_a_uuid(sent, kept, raw_headers):
    check = Check(headers=(("x-fapi-interaction-id", sent),), raw_headers=raw_headers)

    assert kept == read(check).facts.interaction_id


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc;x=y", True),
        ("application/grpc-web", False),
        ("application/grpcx", False),
        ("application/json", False),
    ],
)
def test_t24_a_grpc_client_is_told_by_its_content_type_as_envoy_does(content_type, is_grpc):
    assert is_grpc == read(Check(headers=(("content-type", content_type),))).facts.is_grpc


def test_t31_the_certificate_is_the_one_our_own_proxy_wrote():
    ours = f'Hash={"a" * 64};Subject="CN=tpp";URI=spiffe://td/ns/x/sa/y;DNS=a;DNS=b'
    forged = f"Hash={'b' * 64};URI=spiffe://td/ns/admin/sa/root"
    check = Check(headers=(("x-forwarded-client-cert", f"{forged},{ours}"),))

    expected = ForwardedCertificate("", "a" * 64, "spiffe://td/ns/x/sa/y", "CN=tpp", ("a", "b"))
    assert expected == read(check).forwarded
    assert "b" * 64 == read(check, InboundOptions(xfcc_trusted_hops=2)).forwarded.hash
    assert read(check, InboundOptions(xfcc_trusted_hops=3)).forwarded is None
    assert read(check, InboundOptions(xfcc_trusted_hops=0)).forwarded is None
    assert read(Check()).forwarded is None


@BOTH_MODES
def test_t31_a_malformed_forwarded_certificate_is_refused_unless_it_is_never_read(raw_headers):
    check = Check(headers=(("x-forwarded-client-cert", 'By="oops'),), raw_headers=raw_headers)

    assert Reason.FORWARDED_CERTIFICATE_INVALID is read(check).reason
    assert isinstance(read(check, InboundOptions(xfcc_trusted_hops=0)), Request)


def test_t68_facts_of_a_refused_request_hold_no_text_of_the_client():
    refused = read(Check(method="EVIL\n", path="/<script>", host="<b>", protocol="X\n", request_id="\n"))

    assert ("", "", "", "") == (
        refused.facts.method,
        refused.facts.host,
        refused.facts.protocol,
        refused.facts.request_id,
    )
