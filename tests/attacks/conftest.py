"""The bank under attack, built once."""

import pytest

from tests.attacks.bank import BUNDLE, Bank
from tests.engine import load


@pytest.fixture(scope="session")
def bank() -> Bank:
    return Bank(load(BUNDLE))
