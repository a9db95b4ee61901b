"""The bank under attack, built once."""

import pytest

from tests.attacks.bank import BUNDLE, Bank, load


@pytest.fixture(scope="session")
def bank() -> Bank:
    return Bank(load(BUNDLE))
