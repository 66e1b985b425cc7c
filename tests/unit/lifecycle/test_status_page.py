"""What machines see of a run, and the figures of its page."""

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from retrain.journal import Journal
from retrain.lifecycle.status_page import curve, duration, open_port, serve, span


def test_machines_can_read_the_state(journal: Journal) -> None:
    listener = open_port(0)
    serve(listener, journal)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert requests.get(f"{url}/health", timeout=5).json() == {"status": "ok"}
    status = requests.get(f"{url}/api/status", timeout=5).json()
    assert (status["progress"]["done"], status["progress"]["share"]) == (5, 0.5)
    assert status["curves"]["f1_macro"][-1] == [5, 0.5]
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=5).text)
    values = {sample.name: sample for family in families for sample in family.samples}
    assert values["retrain_progress_ratio"].value == 0.5
    assert values["retrain_training_f1_macro"].value == 0.5
    assert values["retrain_run"].labels == {"label": "urgency", "stage": "train", "outcome": "running"}
    for path, status_code in (
        ("/assets/../page.html", 404),
        ("/assets/%2e%2e/page.html", 404),
        ("/nothing", 404),
    ):
        assert requests.get(url + path, timeout=5).status_code == status_code
    assert requests.post(f"{url}/api/status", timeout=5).status_code == 405


# --- figures


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_curve_fills_its_box_with_the_origin_at_the_top() -> None:
    assert curve([(1, 0.0), (2, 0.5), (3, 1.0)]) == "0.0,90.0 150.0,45.0 300.0,0.0"
    assert curve([(5, 0.5)], 10, 10) == "0.0,10.0"
    assert curve([(0, 0.5), (10, 0.5)], 10, 10) == "0.0,10.0 10.0,10.0"


@pytest.mark.parametrize(
    ("interval", "gain", "places"),
    [
        ((0.1, 0.3), 0.2, {"low": 100, "high": 300, "gain": 200, "zero": 0}),
        ((-0.1, 0.2), 0.1, {"low": 0, "high": 300, "gain": 200, "zero": 100}),
        ((-0.3, -0.1), -0.2, {"low": 0, "high": 200, "gain": 100, "zero": 300}),
        ((0.0, 0.0), 0.0, {"low": 0, "high": 0, "gain": 0, "zero": 0}),
    ],
)
def test_gain_interval_and_zero_stand_on_one_line(
    interval: tuple[float, float], gain: float, places: dict[str, float]
) -> None:
    assert span({"interval": interval, "delta": gain}) == pytest.approx(places)
