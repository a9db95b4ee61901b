"""How `extauthz bundle test` shows what the cases cover: a table for people, JSON for programs."""

from typing import Any

import click

from extauthz.bundle.coverage import Coverage, RuleCoverage


def as_json(cover: Coverage) -> dict[str, Any]:
    """Everything, with file and line."""
    decided = sum(1 for rule in cover.rules if rule.decided)
    parts = [part for rule in cover.rules for part in rule.parts]
    return {
        "percent": cover.percent,
        "points": {"total": cover.total, "covered": cover.covered},
        "rules": {"total": len(cover.rules), "decided": decided},
        "branches": {
            "total": 2 * len(parts),
            "covered": sum(bool(part.true) + bool(part.false) for part in parts),
        },
        "details": [
            {
                "policy": rule.policy,
                "rule": rule.rule,
                "file": rule.file,
                "line": rule.line,
                "effect": rule.effect,
                "mode": rule.mode,
                "decided": rule.decided,
                "refused": rule.refused if rule.can_refuse else None,
                "condition": [
                    {"text": part.text, "true": part.true, "false": part.false, "error": part.error}
                    for part in rule.parts
                ],
                "missing": rule.missing,
            }
            for rule in cover.rules
        ],
    }


def summary(cover: Coverage) -> str:
    """One line."""
    found = as_json(cover)
    rules, branches = found["rules"], found["branches"]
    text = f"{rules['decided']} of {rules['total']} rules decide"
    if branches["total"]:
        text += f", {branches['covered']} of {branches['total']} branches of conditions are taken"
    return f"{text}: coverage {cover.percent} %"


def print_table(cover: Coverage) -> None:
    """A line for each rule, and what no case has shown of it."""
    names = [f"{rule.policy}/{rule.rule}" for rule in cover.rules]
    width = max(map(len, names), default=0)
    click.echo(f"{'rule':<{width}}  decides  refuses  branches")
    for name, rule in zip(names, cover.rules, strict=True):
        line = (
            f"{name:<{width}}  {rule.decided:>7}  {rule.refused if rule.can_refuse else '-':>7}  {_branches(rule):>8}"
        )
        click.secho(line, fg="yellow" if rule.missing else None)
        for missing in rule.missing:
            click.echo(f"  {rule.file}:{rule.line}: {missing}")


def _branches(rule: RuleCoverage) -> str:
    taken = sum(bool(part.true) + bool(part.false) for part in rule.parts)
    return f"{taken}/{2 * len(rule.parts)}" if rule.parts else "-"
