"""`/v1/api/openapi.json` and a page to browse it, all served from here.

The page is an empty shell that anybody may load; the document it shows needs the key, like
everything else below `/v1/api`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from api import wire
from api.routing import Call, Operation, Order, Route, refuse_method

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'"
)


async def get_openapi(call: Call) -> wire.Answer:
    from api.openapi import document

    return wire.answer(document(call.services.options.version), 200, wire.JSON_TYPE)


@cache
def _file(name: str) -> bytes:
    return files("api").joinpath("page", name).read_bytes()


def _serve(name: str, model: str, content_type: str) -> Operation:
    async def get_file(call: Call) -> wire.Answer:
        if call.method not in ("GET", "HEAD"):
            raise refuse_method(call.route)
        return wire.answer(_file(name), 200, content_type, {"Content-Security-Policy": _POLICY})

    return Operation(get_file, f"The documentation page ({name})", {200: model, 405: "Failure"})


def _page(path: str, name: str, model: str, content_type: str) -> Route:
    return Route(
        path,
        Order.OPEN,
        {"GET": _serve(name, model, content_type)},
        tag="documentation",
        wrong_method="requires method: GET",
    )


ROUTES = (
    Route(
        "/v1/api/openapi.json",
        Order.METHOD_FIRST,
        {"GET": Operation(get_openapi, "This API as an OpenAPI 3.1 document", {200: "OpenApi"})},
        tag="documentation",
        wrong_method="requires method: GET",
    ),
    _page("/v1/api/docs", "docs.html", "Page", "text/html; charset=utf-8"),
    _page("/v1/api/docs/docs.js", "docs.js", "Script", "text/javascript; charset=utf-8"),
    _page("/v1/api/docs/docs.css", "docs.css", "Style", "text/css; charset=utf-8"),
)
