"""The state of a run as Prometheus metrics."""

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def metrics(status: dict[str, Any]) -> bytes:
    """The state as Prometheus metrics; what is not known yet is left out."""
    registry = CollectorRegistry()

    def gauge(name: str, about: str, value: float | None, **labels: str) -> None:
        if value is not None:
            metric = Gauge(f"retrain_{name}", about, labels, registry=registry)
            (metric.labels(**labels) if labels else metric).set(value)

    begun = [stage["name"] for stage in status["stages"] if stage["started_at"]]
    stage = begun[-1] if begun else "start"
    outcome = status["outcome"] or "running"
    gauge("run", "The run", 1, label=status["label"] or "", stage=stage, outcome=outcome)
    gauge("warnings", "Warnings so far", len(status["warnings"]))
    gauge(
        "space_not_paused",
        "1 if the Space could not be paused and is billed",
        status["pause_failed"] is not None,
    )
    gauge(
        "progress_ratio",
        "How far the current step is",
        status["bars"][0]["share"] if status["bars"] else None,
    )
    for name, points in status["curves"].items():
        gauge(f"training_{name}", f"The newest point of the curve {name}", points[-1][1] if points else None)
    gauge("test_f1_macro", "The new model on the test set", (status["scores"] or {}).get("f1_macro"))
    gauge("gain_f1_macro", "New model less live model", (status["verdict"] or {}).get("delta"))
    return generate_latest(registry)
