"""CEL's checked expressions as Python closures, which give CEL's results or leave it to CEL."""

from extauthz.policy.lowering.calls import NotLoweredError
from extauthz.policy.lowering.lookup import Data
from extauthz.policy.lowering.loops import ALLOWANCE
from extauthz.policy.lowering.lower import Expression, Scope, lower
from extauthz.policy.lowering.nodes import Kind, Run
from extauthz.policy.lowering.values import (
    BeyondError,
    FailedError,
    SpentError,
    Timestamp,
    is_plain,
    is_text,
    result,
)

__all__ = [
    "ALLOWANCE",
    "BeyondError",
    "Data",
    "Expression",
    "FailedError",
    "Kind",
    "NotLoweredError",
    "Run",
    "Scope",
    "SpentError",
    "Timestamp",
    "is_plain",
    "is_text",
    "lower",
    "result",
]
