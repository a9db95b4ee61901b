"""The snapshot in force: replaced whole, with keys that are never another issuer's."""

import json
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from extauthz.bundle import Built, read_bundle
from extauthz.identity import NO_KEYS, KeySet, parse_jwks
from extauthz.model.ports import NoTokenCache
from extauthz.sources import GenerationalTokenCache, Live, Ports
from extauthz.sources.replay_store import MemoryReplayStore
from tests.unit.bundle.small_bundle import changed, files

ASKED = "  introspection: {endpoint: 'https://idp.bank.test/introspect', only: true}\n"


def built(bundle: dict[str, bytes] | None = None) -> Built:
    return read_bundle(bundle or files(), NoTokenCache())


def keys_for(bundle: Built) -> KeySet:
    public = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
    keys, _ = parse_jwks(json.dumps({"keys": [{**public, "kid": "k1"}]}).encode(), bundle.issuers[0])
    return keys


def test_nothing_is_in_force_before_the_first_bundle() -> None:
    live = Live()
    assert live.current is None
    assert live.status().revision == ""
    live.set_keys("bank", keys_for(built()))
    assert live.current is None


def test_keys_arrive_after_the_bundle_and_readiness_can_tell() -> None:
    live, bundle = Live(), built()
    live.activate(bundle.snapshot, bundle.issuers)
    assert live.status().waiting_for_keys == ("bank",)
    live.set_keys("bank", keys_for(bundle))
    assert (live.status().waiting_for_keys, live.status().keys) == ((), {"bank": 1})
    live.set_keys("bank", NO_KEYS)
    assert live.status().waiting_for_keys == ("bank",), "KEY-03: keys may be withdrawn"


def test_keys_stay_while_the_issuers_document_stays() -> None:
    live, bundle = Live(), built()
    live.activate(bundle.snapshot, bundle.issuers)
    live.set_keys("bank", keys_for(bundle))
    again = built(changed("policy.yaml", "GET", "PUT"))
    live.activate(again.snapshot, again.issuers)
    assert live.status().keys == {"bank": 1}


def test_keys_go_when_the_issuers_document_changes() -> None:
    """KEY-02: keys fetched for one address never vouch for tokens of another document of that name."""
    live, bundle = Live(), built()
    live.activate(bundle.snapshot, bundle.issuers)
    old = keys_for(bundle)
    live.set_keys("bank", old)
    moved = built(changed("issuer.yaml", "https://idp.bank.test/certs", "https://new.bank.test/certs"))
    live.activate(moved.snapshot, moved.issuers)
    assert live.status().keys == {}
    live.set_keys("bank", old)
    assert live.status().keys == {}, "an answer that was under way is for the old document"
    live.set_keys("nobody", old)
    assert live.status().keys == {}


def test_what_is_the_processs_goes_into_every_snapshot() -> None:
    ports = Ports(tokens=GenerationalTokenCache(10), replay=MemoryReplayStore(1000, lambda: 0.0))
    live = Live(ports)
    for bundle in (built(), built(changed("policy.yaml", "GET", "PUT"))):
        live.activate(bundle.snapshot, bundle.issuers)
        live.set_keys("bank", keys_for(bundle))
        assert live.current is not None
        assert live.current.tokens is ports.tokens
        assert live.current.replay is ports.replay


def test_an_issuer_that_reads_all_its_tokens_itself_is_not_waited_for() -> None:
    live = Live()
    alone = built(changed("issuer.yaml", '  jwks: {uri: "https://idp.bank.test/certs"}\n', ASKED))
    live.activate(alone.snapshot, alone.issuers)
    assert () == live.status().waiting_for_keys
    live.set_keys("bank", keys_for(alone))
    assert {} == live.status().keys


def test_who_took_the_snapshot_keeps_it_through_a_replacement() -> None:
    live, bundle = Live(), built()
    live.activate(bundle.snapshot, bundle.issuers)
    taken = live.current
    live.set_keys("bank", keys_for(bundle))
    assert taken is not None
    assert taken.keys == {}
    assert live.current is not taken


def test_bundle_and_key_writers_never_undo_each_other() -> None:
    """After 200 activations beside 200 publications the last of both is in force."""
    live = Live()
    bundles = [built(), built(changed("policy.yaml", "GET", "PUT"))]
    live.activate(bundles[0].snapshot, bundles[0].issuers)
    published = [keys_for(bundles[0]) for _ in range(2)]

    def activate() -> None:
        for number in range(200):
            bundle = bundles[number % 2]
            live.activate(bundle.snapshot, bundle.issuers)

    def publish() -> None:
        for number in range(200):
            live.set_keys("bank", published[number % 2])

    threads = [threading.Thread(target=activate), threading.Thread(target=publish)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert live.current is not None
    assert live.current.digest == bundles[1].snapshot.digest
    assert live.current.keys["bank"] is published[1]
