"""Rules and dashboard: every metric and label in them is one that the server has; alerts fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.telemetry.contract import BOUNDS, FAMILIES

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "extauthz.rules.yaml"

# What Prometheus, its discovery of pods and histograms bring.
FOREIGN_LABELS = {"job", "pod", "le"}
METRICS = {
    f"{family.name}{suffix}": set(family.labels)
    for family in FAMILIES
    for suffix in (("_bucket", "_count", "_sum") if family.type == "histogram" else ("",))
}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "extauthz.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    marks = [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    return [rule["expr"] for rule in rules()] + panels + marks


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_exists(expression: str) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    found = set(re.findall(r"\bextauthz[a-z0-9_:]*(?=[\[{ )]|$)", re.sub(r'"[^"]*"', '""', expression)))
    names = {name for name in found if ":" not in name}
    assert found - names <= recorded
    assert names <= METRICS.keys()
    labels = {label for name in names for label in METRICS[name]} | FOREIGN_LABELS
    for block in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"', block)) <= labels, expression
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", grouping)) <= labels, expression


def test_every_label_in_a_summary_survives_the_expression() -> None:
    for rule in rules():
        for label in re.findall(r"\$labels\.(\w+)", str(rule.get("annotations", ""))):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule


def test_alerts_say_what_and_how_urgent() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 10
    for rule in alerts:
        assert rule["alert"].startswith("Extauthz")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_every_alert_leads_to_what_to_do() -> None:
    """Its runbook has a section of that name, and in it a row about this alert; no row is about an alert of yore."""
    alerts = [rule for rule in rules() if "alert" in rule]
    page = (DEPLOY.parent / "docs" / "runbooks" / "alerts.md").read_text()
    sections = {part.partition("\n")[0].lower().replace(" ", "-"): part for part in page.split("\n## ")[1:]}
    for rule in alerts:
        file, _, section = rule["annotations"]["runbook"].partition("#")
        assert "docs/runbooks/alerts.md" == file
        assert re.search(rf"^\| [^|]*`{rule['alert']}`[^|]*\|", sections[section], re.MULTILINE), rule["alert"]
    assert {rule["alert"] for rule in alerts} == set(re.findall(r"Extauthz\w+", page))


def test_the_objective_is_a_bound_of_the_histogram() -> None:
    """`le` must name a bucket, or the ratio has no numerator."""
    used = {float(le) for rule in rules() for le in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert used
    assert used <= set(BOUNDS)


def test_dashboard_panels_do_not_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "extauthz.json").read_text())
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & own, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: apt-get install prometheus)"
)
@pytest.mark.parametrize("arguments", [["check", "rules", RULES.name], ["test", "rules", "rules_test.yaml"]])
def test_promtool_agrees(arguments: list[str]) -> None:
    """Syntax, and the alerts' own unit tests: silent in a healthy hour, loud when they should be."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_scrapes_find_the_service_s_admin_port() -> None:
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    service = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "service.yaml").read_text())
    keep = scrape["relabel_configs"][0]["regex"]
    assert any(f"{service['metadata']['name']};{port['name']}" == keep for port in service["spec"]["ports"])
    assert "/metrics" == scrape["metrics_path"]
