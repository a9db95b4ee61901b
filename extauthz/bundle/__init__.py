"""A bundle's documents as one thing: parse, check, compile, test. Pure: bytes in, a snapshot or findings out."""

from extauthz.bundle.archive import pack, unpack
from extauthz.bundle.cases import Case
from extauthz.bundle.finding import STEPS, BundleError, Finding, Step
from extauthz.bundle.manifest import Manifest, check_files, encode_manifest, make_manifest, parse_manifest
from extauthz.bundle.memory import Memory
from extauthz.bundle.package import Package
from extauthz.bundle.policy_test import TestResult, run_tests
from extauthz.bundle.read import Built, bundle_digest, collector_paused, lint_bundle, read_bundle
from extauthz.bundle.tree import Tree, bind, parse_yaml
from extauthz.bundle.trust import BadKeyError, TrustedKey

__all__ = [
    "STEPS",
    "BadKeyError",
    "Built",
    "BundleError",
    "Case",
    "Finding",
    "Manifest",
    "Memory",
    "Package",
    "Step",
    "TestResult",
    "Tree",
    "TrustedKey",
    "bind",
    "bundle_digest",
    "check_files",
    "collector_paused",
    "encode_manifest",
    "lint_bundle",
    "make_manifest",
    "pack",
    "parse_manifest",
    "parse_yaml",
    "read_bundle",
    "run_tests",
    "unpack",
]
