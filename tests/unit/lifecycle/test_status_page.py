"""What machines are told of a run."""

import requests
from prometheus_client.parser import text_string_to_metric_families

from retrain.journal import Journal
from retrain.lifecycle.status_page import open_port, serve


def test_the_state_is_told_to_machines(journal: Journal) -> None:
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
