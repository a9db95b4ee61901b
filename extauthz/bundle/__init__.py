"""A bundle's documents as one thing: parse, check, compile, test. Pure: bytes in, a snapshot or findings out."""

from extauthz.bundle.finding import BundleError, Finding
from extauthz.bundle.tree import Tree, bind, parse_yaml

__all__ = ["BundleError", "Finding", "Tree", "bind", "parse_yaml"]
