"""The job in a company's network: the Hub can only be reached through a proxy, or not at all."""

from typing import Any

import pytest

from tests.conftest import FIRST, City
from tests.networks import ForwardProxy

Splits = dict[str, list[dict[str, Any]]]


@pytest.fixture
def proxy(city: City) -> Any:
    with ForwardProxy({"hub.example:80": int(city.hub.url.rpartition(":")[2])}) as proxy:
        city.settings |= {"HF_ENDPOINT": "http://hub.example/", "HTTP_PROXY": proxy.url}
        city.settings |= {"NO_PROXY": "127.0.0.1"}  # where the API is
        yield proxy


def test_a_job_behind_a_proxy_releases_and_pauses_its_space(
    city: City, good_splits: Splits, proxy: ForwardProxy
) -> None:
    """The endpoint has a slash at its end, as people copy it."""
    city.push(good_splits)
    city.serve_newest()
    city.hub.requests.clear()
    run = city.run(**FIRST)
    assert (run.exit_code, run.record["outcome"]) == (0, "accepted"), run.output
    assert city.paused
    seen = {each.split()[1] for each in proxy.seen}
    assert seen == {"hub.example:80"}
    assert sum("/_lfs/" in request.path for request in city.hub.requests) >= 1
    assert run.record["kept"]["url"].startswith("http://hub.example/city/model/")
