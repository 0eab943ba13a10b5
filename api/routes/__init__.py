"""All routes, as far as the options enable them.

Without an API secret the API does not exist, without a webhook secret neither do the
webhooks; health always does.
"""

from __future__ import annotations

from api.routes import docs, events, health, polls, projects, runs, stacks, status
from api.routing import Route
from api.services import ApiOptions
from api.webhooks import routes as webhooks

API_ROUTES: tuple[Route, ...] = (
    *runs.ROUTES,
    *events.ROUTES,
    *polls.ROUTES,
    *projects.ROUTES,
    *stacks.ROUTES,
    *status.ROUTES,
    *docs.ROUTES,
)


def routes_for(options: ApiOptions) -> tuple[Route, ...]:
    """The routes that exist under these options."""
    return (
        *health.ROUTES,
        *(API_ROUTES if options.api_secret else ()),
        *(webhooks.ROUTES if options.webhook_secret else ()),
    )
