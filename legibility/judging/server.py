"""`legibility judge`: the judging page and its three requests, on Starlette, on loopback unless told otherwise.

The server serves one page and answers start, show and answer; it serves no files, and its process
never opens the key. Only the item a rater may see next ever leaves it.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from legibility.errors import UserError
from legibility.judging.rater_page import policy, served_page
from legibility.judging.store import RaterAnswer, Refused, Store
from legibility.judging.study_folder import StudyFolder

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BODY = 16_384
Short = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    """The JSON of a request; anything unexpected in it is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Body):
    """A rater opens the page: with the token of an earlier visit, and what the link says of them."""

    token: Short | None = None
    visitor: dict[Short, Short] = Field(default_factory=dict, max_length=3)


class ShowRequest(_Body):
    """Put the open or the next item on the screen."""

    token: Short


class AnswerRequest(_Body):
    """A rater's answer to the item on their screen."""

    token: Short
    item_id: Short
    answer: bool
    seconds: float = Field(ge=0, lt=1e7)
    timed_out: bool
    confidence: int | None = Field(ge=1, le=5)
    first_wrong_step: int | None = Field(ge=1)


def application(store: Store, hosts: list[str] | None = None) -> Starlette:
    """The web application of one study. `hosts`: Host headers to accept (None: any)."""
    study = store.study

    def start(body: StartRequest) -> dict[str, Any]:
        visitor = {k: v for k, v in body.visitor.items() if k in ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")}
        session = store.start(body.token, visitor)
        return {
            **study.protocol.public(),
            "token": session.token,
            "total": len(study.slots[session.slot]),
            "judged": len(session.judged),
            "open": len(session.shown) > len(session.judged),
        }

    def show(body: ShowRequest) -> dict[str, Any]:
        found = store.show(body.token)
        if found is None:
            return {"finished": True, "completion_code": study.protocol.completion_code}
        item = study.items[found.item_id]
        number = len(store.sessions[body.token].judged) + 1
        return {
            "item_id": item.item_id,
            "problem": item.problem,
            "solution": item.solution,
            "number": number,
            "elapsed": found.elapsed,
        }

    def answer(body: AnswerRequest) -> dict[str, Any]:
        store.answer(body.token, RaterAnswer(**body.model_dump(exclude={"token"})))
        return {"stored": True}

    def page(request: Request) -> Response:
        return HTMLResponse(served_page(), headers=_HEADERS)

    routes = [
        Route("/", page),
        Route("/api/start", _endpoint(StartRequest, start), methods=["POST"]),
        Route("/api/show", _endpoint(ShowRequest, show), methods=["POST"]),
        Route("/api/answer", _endpoint(AnswerRequest, answer), methods=["POST"]),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)] if hosts else []
    return Starlette(routes=routes, middleware=guards)


_HEADERS = {
    "Content-Security-Policy": policy() + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


BodyT = TypeVar("BodyT", bound=_Body)


def _endpoint(
    kind: type[BodyT], function: Callable[[BodyT], dict[str, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    """A JSON request in, a JSON reply out; bad requests get a 4xx with one sentence."""

    async def respond(request: Request) -> Response:
        kind_of_content = request.headers.get("content-type", "").split(";")[0]
        if kind_of_content != "application/json":  # so that no other site can post here
            return _error(415, "Send JSON.")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _error(413, "The request is too large.")
        try:
            parsed = kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            return _error(400, f"Bad request: {'.'.join(map(str, first['loc']))} {first['msg']}")
        try:
            return JSONResponse(await run_in_threadpool(function, parsed), headers=_HEADERS)
        except Refused as refusal:
            return _error(409, str(refusal))

    return respond


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=_HEADERS)


def serve(study: StudyFolder, host: str, port: int) -> None:
    """Serve the judging page of a study until interrupted (`legibility judge`). Raises UserError where the address cannot be used or a server runs already."""
    import uvicorn

    store = Store(study)
    hosts = [*LOOPBACK, "[::1]"] if host in LOOPBACK else None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # from here on a request waits rather than being refused
    except OSError as error:
        store.close()
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from None
    shown = f"[{host}]" if ":" in host else host
    print(
        f"judging page: http://{shown}:{listener.getsockname()[1]}/   ({len(study.slots)} raters; stop with Ctrl-C)",
        flush=True,
    )
    if hosts is None:
        print(
            "warning: reachable from other machines, over plain http; put a TLS proxy in front for a real study",
            flush=True,
        )
    server = uvicorn.Server(
        uvicorn.Config(application(store, hosts), log_level="warning", access_log=False, server_header=False)
    )
    try:
        server.run(sockets=[listener])
    finally:
        store.close()
