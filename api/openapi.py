"""The OpenAPI 3.1 document, made from the table of routes and the models of `api.schema`.

What holds for groups of routes (the key, wrong methods, a store that cannot be written) is
added here once, so the table says only what is particular to a route.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import schema, wire
from api.params import Param
from api.routes import API_ROUTES, health
from api.routing import KNOWN_METHODS, Operation, Order, Route
from api.webhooks import routes as webhooks
from api.webhooks.providers import AZURE, PROVIDERS, Provider

_WILDCARD = re.compile(r"<(\w+)>")
_PATH_NAMES = {
    "job_id": "The `job_id` of a run.",
    "name": "Name of a project or stack; the case does not matter.",
    "action": "What to do.",
    "target": "Picks `.doco-cd.<target>.yml`.",
}
_REASONS = {
    200: "Done",
    201: "Deployed",
    202: "Accepted; the work goes on under this `job_id`",
    400: "Something about the request is wrong; nothing was done",
    401: "The key or signature is missing or wrong",
    403: "The address is not allowed",
    404: "There is no such thing",
    405: "Wrong method",
    408: "The body did not arrive in time",
    409: "The state of things forbids it",
    413: "The body is too large",
    429: "Too many failed attempts",
    500: "The work failed",
    501: "Not supported",
    503: "Not possible at the moment",
}
_OTHER_TYPES = {
    "EventStream": "text/event-stream",
    "Page": "text/html",
    "Script": "text/javascript",
    "Style": "text/css",
    "OpenApi": "application/json",
}
_ACTIONS = {
    "/v1/api/project/<name>/<action>": ["start", "stop", "restart"],
    "/v1/api/stack/<name>/<action>": ["scale", "restart", "run"],
}


@cache
def document(version: str) -> bytes:
    """The document as JSON."""
    return wire.encode(build(version))


def build(version: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in (*health.ROUTES, *API_ROUTES, *webhooks.ROUTES):
        _describe(paths, route, route.path, route.operations)
        for path, operations in route.documented.items():
            _describe(paths, route, path, operations)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moored",
            "version": version,
            "description": "GitOps for Docker hosts. Calls that change something write a durable intent and, if asked, "
            "wait for its outcome.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                **{_scheme_name(provider): _proof(provider) for provider in PROVIDERS},
            },
        },
    }


def _schemas() -> dict[str, Any]:
    models = [
        model
        for model in vars(schema).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == schema.__name__
    ]
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    schemas["PollTargets"] = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/PollTarget"}}
    schemas["Webhook"] = {"type": "object", "description": "The payload as the provider sends it."}
    return schemas


def _describe(
    paths: dict[str, dict[str, Any]], route: Route, path: str, operations: dict[str, Operation] | Any
) -> None:
    shown = paths.setdefault(_WILDCARD.sub(r"{\1}", path), {})
    for method, operation in operations.items():
        for each in KNOWN_METHODS if method == "*" else (method,):
            shown[each.lower()] = _operation(route, path, each, operation)


def _operation(route: Route, path: str, method: str, operation: Operation) -> dict[str, Any]:
    keyed = route.order is not Order.OPEN
    statuses = dict(operation.answers)
    if keyed:
        statuses |= dict.fromkeys((401, 405, 429), "Failure")
    if route.tag not in ("documentation", "swarm", "health"):
        statuses.setdefault(500, "Failure")
        statuses.setdefault(503, "Failure")
    if operation.params:
        statuses.setdefault(400, "Failure")
    shown: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()} {path}").strip("_"),
        "summary": operation.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(path), *map(_parameter, operation.params)],
        "responses": {str(status): _response(status, model) for status, model in sorted(statuses.items())},
        "security": [{"key": []}] if keyed else [],
    }
    if route.tag == "webhooks":
        shown["security"] = [{_scheme_name(provider): []} for provider in PROVIDERS]
        shown["parameters"] += [_event_header(provider) for provider in PROVIDERS if provider.event]
    if operation.idempotent:
        shown["parameters"].append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A call repeated under the same key is done once and answered alike.",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
    if operation.body:
        shown["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{operation.body}"}}},
        }
    return shown


def _scheme_name(provider: Provider) -> str:
    return provider.name.lower().replace(" ", "-")


def _proof(provider: Provider) -> dict[str, Any]:
    """The security scheme of a sender of webhooks."""
    if provider is AZURE:
        return {"type": "http", "scheme": "basic", "description": "Any user; the secret as password."}
    token = provider.signature.endswith("-Token")
    about = "The secret." if token else "HMAC-SHA256 of the body under the secret, in hexadecimal."
    return {"type": "apiKey", "in": "header", "name": provider.signature, "description": f"{provider.name}: {about}"}


def _event_header(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.event,
        "in": "header",
        "description": f"What happened, in the words of {provider.name}; needed with its signature.",
        "schema": {"type": "string"},
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    found = []
    for name in _WILDCARD.findall(path):
        about: dict[str, Any] = {"type": "string", "minLength": 1}
        if name == "action":
            about = {"type": "string", "enum": _ACTIONS[path]}
        found.append({"name": name, "in": "path", "required": True, "description": _PATH_NAMES[name], "schema": about})
    return found


def _parameter(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": "query",
        "description": param.about,
        # Empty is the same as leaving it out.
        "allowEmptyValue": True,
        "schema": dict(param.schema),
    }


def _response(status: int, model: str) -> dict[str, Any]:
    if model in _OTHER_TYPES:
        content: dict[str, Any] = {_OTHER_TYPES[model]: {"schema": {}}}
    else:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    shown: dict[str, Any] = {"description": _REASONS[status], "content": content}
    if status in (429, 503):
        shown["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return shown
