"""Documents as YAML that two readers read alike.

Rule 1: text that some reader could take for something else is quoted; there are no anchors.
"""

import re
from typing import Any, Final

import yaml

from extauthz.bundle import parse_yaml
from extauthz.bundle.kinds import API_VERSION

_WIDTH: Final = 120
# Letters first, then what paths and names are made of; everything else is quoted.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./*@+-]*(?: [A-Za-z0-9_./*@+-]+)*")
# Expressions: words of printable ASCII with one blank between them.
_FOLDED = re.compile(r"[!-~]+(?: [!-~]+){2,}")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with lists set in."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(data) and data.lower() not in _WORDS
    style = None if plain else ">" if _FOLDED.fullmatch(data) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _text)


def document(kind: str, name: str, spec: dict[str, Any], about: str = "") -> bytes:
    """One document of a bundle; `about` stands above it as a comment."""
    tree = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True, default_flow_style=None)
    if parse_yaml(text.encode(), name)[0].value != tree:  # the one reader that counts
        raise AssertionError(text)
    comment = "".join(f"# {line}\n" for line in about.splitlines() if line.isprintable())
    return (comment + text).encode()
