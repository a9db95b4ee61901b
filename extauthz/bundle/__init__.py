"""A bundle's documents as one thing: parse, check, compile, test. Pure: bytes in, a snapshot or findings out."""

from extauthz.bundle.cases import Case
from extauthz.bundle.finding import BundleError, Finding
from extauthz.bundle.policy_test import Coverage, TestResult, coverage, run_tests
from extauthz.bundle.read import Built, bundle_digest, collector_paused, read_bundle
from extauthz.bundle.tree import Tree, bind, parse_yaml

__all__ = [
    "Built",
    "BundleError",
    "Case",
    "Coverage",
    "Finding",
    "TestResult",
    "Tree",
    "bind",
    "bundle_digest",
    "collector_paused",
    "coverage",
    "parse_yaml",
    "read_bundle",
    "run_tests",
]
