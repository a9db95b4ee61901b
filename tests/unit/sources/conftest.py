"""What tests of sources share."""

import pytest


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories are complete whenever somebody looks, so that nobody waits whether they are."""
    monkeypatch.setattr("extauthz.sources.bundles.watched._SETTLE_SECONDS", 0.001)
