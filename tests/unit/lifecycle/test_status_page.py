"""What machines see of a run, and the figures of its page."""

from itertools import islice

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from retrain.events import Archived
from retrain.journal import Journal
from retrain.lifecycle.status_page import curve, open_port, serve, span


def test_machines_can_read_the_state(journal: Journal) -> None:
    listener = open_port(0)
    serve(listener, journal)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert requests.get(f"{url}/health", timeout=5).json() == {"status": "ok"}
    status = requests.get(f"{url}/api/status", timeout=5).json()
    assert [(bar["done"], bar["share"]) for bar in status["bars"]] == [(5, 0.5)]
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


def test_whoever_watches_is_sent_the_end_before_the_page_goes(journal: Journal) -> None:
    listener = open_port(0)
    page = serve(listener, journal)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/events"
    assert page.show_to_all(0.0), "nobody watches"
    with requests.get(url, stream=True, timeout=20) as watching:
        lines = watching.iter_lines()
        next(lines)
        journal.write(Archived("https://hub.example/report"))
        assert page.show_to_all(20.0)
        assert any(b"https://hub.example/report" in line for line in islice(lines, 2))


def test_a_watcher_who_went_away_keeps_nobody_waiting(journal: Journal) -> None:
    listener = open_port(0)
    page = serve(listener, journal)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/events"
    with requests.get(url, stream=True, timeout=20) as watching:
        next(watching.iter_lines())
    journal.write(Archived("https://hub.example/report"))
    assert page.show_to_all(20.0)


# --- figures


def test_a_curve_fills_its_box_with_the_origin_at_the_top() -> None:
    assert curve([(1, 0.0), (2, 0.5), (4, 1.0)], 4) == "75.0,90.0 150.0,45.0 300.0,0.0"
    assert curve([(5, 0.5)], 0, 10, 10) == "10.0,10.0"
    assert curve([(0, 0.5), (10, 0.5)], 10, 10, 10) == "0.0,10.0 10.0,10.0"


def test_curves_of_one_training_have_one_scale_of_steps() -> None:
    assert curve([(1, 0.0), (2, 1.0)], 4) == "75.0,90.0 150.0,0.0", "half of the steps are still to come"


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
