"""What the comments beside a struct's fields say: the reference pages and the schemas take their words from there."""

import ast
import inspect
import textwrap
from io import StringIO
from tokenize import COMMENT, generate_tokens

from msgspec import Struct


def field_notes(struct: type[Struct]) -> dict[str, str]:
    """By the field's name in the code: the comment on its line, or the comment lines directly above it."""
    found: dict[str, str] = {}
    for base in reversed([base for base in struct.__mro__ if base.__module__.startswith("extauthz")]):
        text = textwrap.dedent(inspect.getsource(base))
        comments = {
            token.start[0]: (token.string.lstrip("# "), token.line.strip().startswith("#"))
            for token in generate_tokens(StringIO(text).readline)
            if token.type == COMMENT
        }
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = _note(comments, node.lineno, node.end_lineno or node.lineno)
    return found


def _note(comments: dict[int, tuple[str, bool]], first: int, last: int) -> str:
    """`comments` by line: their words, and whether they stand alone."""
    above = first
    while comments.get(above - 1, ("", False))[1]:
        above -= 1
    return " ".join(comments[line][0] for line in range(above, last + 1) if line in comments).strip()


def summary(struct: type[Struct]) -> str:
    """The first paragraph of the struct's docstring, on one line."""
    return inspect.cleandoc(struct.__doc__ or "").split("\n\n")[0].replace("\n", " ")
