"""`legibility view`: the page's files and its five questions, on Starlette, on loopback unless told otherwise.

Every question is a GET that changes nothing. The page may load its own files and nothing else (content policy); model
text leaves here as JSON and becomes text nodes there.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from legibility.errors import UserError
from legibility.game.condition import Judge
from legibility.local_server import accepted_hosts, listener, own_url, run_until_stopped
from legibility.printable import printable
from legibility.problems.records import Problem
from legibility.viewing.completion_filter import FACETS, GROUPED, CompletionFilter, Values
from legibility.viewing.completion_key import CompletionKey
from legibility.viewing.curves import curves, metric_names
from legibility.viewing.item_page import briefs, read_item, view_item
from legibility.viewing.shelf import Shelf

PAGE = 50
"""Completions on a page."""

_FILES = {
    "view.css": "text/css",
    "view.js": "text/javascript",
    "list.js": "text/javascript",
    "item.js": "text/javascript",
    "curves.js": "text/javascript",
    "common.js": "text/javascript",
}

# Plotly puts its rules into an empty <style> element through the CSSOM; the hash is that of nothing
_EMPTY_STYLE = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
POLICY = (
    "default-src 'none'; script-src 'self'; "
    f"style-src 'self' '{_EMPTY_STYLE}'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _Query(BaseModel):
    """The parameters of a question; anything unexpected in them is an error."""

    model_config = ConfigDict(extra="forbid")


class ListQuery(CompletionFilter):
    """Completions: a filter, an order and the number of a page (from 1)."""

    page: int = Field(1, ge=1, le=10_000_000)


class ItemQuery(_Query):
    """A completion, by its stable name."""

    id: str = Field(max_length=3000)


class ReadQuery(ItemQuery):
    """A completion as one judge reads it."""

    judge: str = Field(max_length=100)


class CurvesQuery(_Query):
    """Some metrics of a run."""

    run: str = Field(max_length=1000)
    metric: Values[str] = ()


class StateQuery(_Query):
    """What there is, and what is under way."""


def application(shelf: Shelf, hosts: list[str] | None = None) -> Starlette:
    """The web application over some runs. `hosts`: Host headers to accept (None: any)."""
    index = shelf.index

    def state(_: StateQuery) -> Any:
        version = index.refresh()
        return {
            "version": version,
            "reading": shelf.reading,
            "runs": [asdict(shown) for shown in shelf.shown()],
            "notes": [printable(note) for note in shelf.notes],
        }

    def completions(query: ListQuery) -> Any:
        version = index.refresh()
        if query.sort == "disagreement":
            shelf.fill_disagreement()
            version = index.version
        total, facets = index.counts(query)
        texts = index.distinct(query) if query.sort in GROUPED else None
        rows = index.page(query, (query.page - 1) * PAGE, PAGE)
        return {
            "version": version,
            "total": total,
            "texts": texts,
            "page": query.page,
            "pages": max(1, math.ceil((total if texts is None else texts) / PAGE)),
            "rows": [asdict(row) for row in briefs(index, rows)],
            "facets": {name: [[value, count] for value, count in facets[name].items()] for name in FACETS},
        }

    def one(query: ItemQuery) -> Any:
        row, text = shelf.opened(CompletionKey.parse(query.id))
        problem: Problem | None = None
        missing = ""
        try:
            problem = shelf.problem(row)
        except UserError as error:  # the text is shown without it
            missing = str(error)
        return asdict(view_item(index, shelf.readings(row.run), problem, row, text, missing))

    def read(query: ReadQuery) -> Any:
        row, text = shelf.opened(CompletionKey.parse(query.id))
        problem = shelf.problem(row)
        reading = shelf.readings(row.run).read(Judge.parse(query.judge), problem, text)
        return asdict(read_item(reading, problem, row, text))

    def metrics(query: CurvesQuery) -> Any:
        run = shelf.run(query.run)
        return {"names": metric_names(curves(run)), "curves": [asdict(curve) for curve in curves(run, query.metric)]}

    def page(request: Request) -> Response:
        return _file("view.html", "text/html")

    routes = [
        Route("/", page),
        Route("/api/state", _endpoint(StateQuery, state)),
        Route("/api/completions", _endpoint(ListQuery, completions)),
        Route("/api/item", _endpoint(ItemQuery, one)),
        Route("/api/reading", _endpoint(ReadQuery, read)),
        Route("/api/curves", _endpoint(CurvesQuery, metrics)),
        Route("/plotly.js", _plotly),
        *(Route(f"/{name}", _serving(name, kind)) for name, kind in _FILES.items()),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)] if hosts else []
    return Starlette(routes=routes, middleware=guards)


def _endpoint(kind: type[BaseModel], answer: Callable[[Any], Any]) -> Callable[[Request], Awaitable[Response]]:
    """A question's parameters in, JSON out; bad ones get a 4xx with one sentence."""

    async def respond(request: Request) -> Response:
        try:
            query = kind.model_validate(_parameters(kind, request))
        except ValidationError as error:
            first = error.errors()[0]
            return _refused(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        try:
            found = await run_in_threadpool(answer, query)
        except UserError as error:
            return _refused(404, str(error))
        return Response(_json(found), media_type="application/json", headers=_HEADERS)

    return respond


def _parameters(kind: type[BaseModel], request: Request) -> dict[str, Any]:
    """The query string as the model wants it: several values only where it takes a list."""
    lists = {name for name, f in kind.model_fields.items() if get_origin(f.annotation) is tuple}
    given = request.query_params
    return {name: given.getlist(name) if name in lists else given[name] for name in given}


def _json(value: Any) -> bytes:
    """JSON of plain data; numbers that are not finite are null, lone surrogates are replaced."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"error": printable(message)}, status_code=status, headers=_HEADERS)


def _file(name: str, kind: str) -> Response:
    content = (files("legibility.viewing") / "page" / name).read_bytes()
    return Response(content, media_type=kind, headers=_HEADERS)


def _serving(name: str, kind: str) -> Callable[[Request], Response]:
    return lambda request: _file(name, kind)


def _plotly(request: Request) -> Response:
    """Plotly as its Python package carries it; found without importing it, which takes a second."""
    place = find_spec("plotly")
    assert place is not None and place.origin is not None  # `serve` has asked
    content = (Path(place.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    headers = {**_HEADERS, "Cache-Control": "private, max-age=86400"}
    return Response(content, media_type="text/javascript", headers=headers)


def serve(runs: Sequence[Path], host: str, port: int) -> None:
    """Serve the page over some runs until interrupted. Raises UserError where there is no run, or the address is taken."""
    shelf = Shelf(runs)
    with listener(host, port) as listening:
        print(printable(f"view: {own_url(host, listening)}   ({', '.join(shelf.names)}; stop with Ctrl-C)"), flush=True)
        if accepted_hosts(host) is None:
            print("warning: reachable from other machines, by anyone, over plain http", file=sys.stderr, flush=True)
        threading.Thread(target=shelf.read_all, daemon=True).start()
        made = application(shelf, accepted_hosts(host))
        run_until_stopped(made, listening, "view")
