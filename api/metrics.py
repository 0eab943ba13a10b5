"""The metrics server: `/metrics` on its own port, any method, no key."""

from __future__ import annotations

from typing import Any

from sanic import Request, Sanic

from api import wire
from state.metrics import CONTENT_TYPE, Metrics


def create_metrics_app(metrics: Metrics) -> Sanic[Any, Any]:
    """The application that serves `metrics`."""
    from api.app import bare_app

    app = bare_app("moored-metrics")

    async def get_metrics(request: Request) -> wire.Answer:
        return wire.answer(metrics.render(), 200, CONTENT_TYPE)

    app.add_route(get_metrics, "/metrics", methods=["GET"], name="metrics", strict_slashes=True, ignore_body=True)
    return app
