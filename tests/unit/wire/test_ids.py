"""Ids are random, of their form, and never given out twice: not to two threads, not to a child process."""

import os
import re
import threading

from extauthz.wire.ids import _store, decision_id, interaction_id

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_ids_have_their_forms_and_do_not_repeat():
    decisions = [decision_id() for _ in range(1000)]
    interactions = [interaction_id() for _ in range(1000)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", found) for found in decisions)
    assert all(UUID.fullmatch(found) for found in interactions)
    assert 2000 == len({*decisions, *(found.replace("-", "") for found in interactions)})


def test_every_bit_that_is_not_fixed_varies():
    bits = 0
    for _ in range(200):
        bits |= int(interaction_id().replace("-", ""), 16)
    assert 122 == (bits & ~(0xF << 76) & ~(0xC << 60)).bit_count()


def test_threads_never_get_the_same_id():
    found: list[list[str]] = [[] for _ in range(4)]

    def draw(mine):
        mine.extend(decision_id() for _ in range(5000))

    threads = [threading.Thread(target=draw, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 20_000 == len({each for mine in found for each in mine})


def test_a_child_process_draws_its_own():
    decision_id()
    kept = set(_store)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, decision_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert kept
    assert theirs not in kept
