"""What is counted is what docs/reference/metrics.md says."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Counter

from nephra_gateway.figures import Figures

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_names_each_metric_of_the_gateway_with_its_labels() -> None:
    """None more, none less; dashboard and alarms are held to the page."""
    figures = Figures()
    figures.busy.expect("nnunet")
    counted = {
        f"{family.name}{'_total' if family.type == 'counter' else ''}": family.type
        for family in figures.registry.collect()
        if family.name.startswith("nephra_")
    }
    rows = re.findall(
        r"^\| `(nephra_gateway_\w+)` \| (\w+) \|", PAGE.read_text(), flags=re.MULTILINE
    )
    assert dict(rows) == counted


def test_what_became_of_telling_somebody_is_counted_in_three_kinds() -> None:
    """Delivered, to be tried again, given up: whatever the reason was."""
    figures = Figures()
    for outcome in ("delivered", "timed_out", "status_500", "status_410, given up"):
        figures.told(outcome)
    assert isinstance(figures.webhooks, Counter)

    def value(outcome: str) -> float | None:
        name = "nephra_gateway_webhook_deliveries_total"
        return figures.registry.get_sample_value(name, {"outcome": outcome})

    assert (value("delivered"), value("failed"), value("given_up")) == (1, 2, 1)
