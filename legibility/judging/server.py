"""`legibility judge`: the judging page and its three requests, on Starlette, on loopback unless told otherwise.

The server serves one page and answers start, show and answer; it serves no files, and its process
never opens the key. Only the item a rater may see next ever leaves it. Who has the organiser's secret
also gets a page of progress, which is as blind as the raters are.
"""

from __future__ import annotations

import secrets
import sys
import time
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

from legibility.judging.invitations import INVITES, invitations
from legibility.judging.progress_page import PROGRESS_POLICY, organiser_key, progress_of, progress_page
from legibility.judging.rater_page import plain_marks, policy, served_page
from legibility.judging.store import NotStored, RaterAnswer, Refused, Store
from legibility.judging.study_folder import StudyFolder
from legibility.local_server import accepted_hosts, listener, own_url, run_until_stopped
from legibility.printable import printable

MAX_BODY = 16_384
Short = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    """The JSON of a request; anything unexpected in it is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Body):
    """A rater opens the page: with the token of an earlier visit, and what the link says of them."""

    token: Short | None = None
    invite: Short | None = None
    start_id: Annotated[str, Field(min_length=16, max_length=64)] | None = None
    visitor: dict[Short, Short] = Field(default_factory=dict, max_length=3)
    consent: Short | None = None


class ShowRequest(_Body):
    """Put the open or the next item on the screen."""

    token: Short


class AnswerRequest(_Body):
    """A rater's answer to the item on their screen; what its values may be, `answer_values` says."""

    token: Short
    item_id: Short
    answer: bool
    seconds: float
    timed_out: bool
    confidence: int | None
    first_wrong_step: int | None


def application(store: Store, hosts: list[str] | None = None, organiser: str | None = None) -> Starlette:
    """The web application of one study. `hosts`: Host headers to accept (None: any); `organiser`: the key that opens
    the progress page (None: there is no such page)."""
    study = store.study

    def start(body: StartRequest, address: str | None) -> dict[str, Any]:
        visitor = {k: v for k, v in body.visitor.items() if k in ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")}
        session = store.start(
            body.token, visitor, invite=body.invite, start_id=body.start_id, address=address, consent=body.consent
        )
        if session is None:
            return {name: study.protocol.public()[name] for name in ("title", "consent")}
        return {
            **study.protocol.public(),
            "token": session.token,
            "total": len(study.slots[session.slot]),
            "judged": len(session.judged),
            "open": len(session.shown) > len(session.judged),
        }

    def show(body: ShowRequest, address: str | None) -> dict[str, Any]:
        found = store.show(body.token)
        if found is None:
            return {"finished": True, "completion_code": study.protocol.completion_code}
        item = study.items[found.item_id]
        session = store.sessions[body.token]
        shaded = item.item_id in study.assisted[session.slot]
        return {
            "item_id": item.item_id,
            "problem": item.problem,
            "solution": item.solution,
            "doubts": plain_marks(study.doubts[item.item_id]) if shaded else None,
            "number": len(session.judged) + 1,
            "elapsed": found.elapsed,
        }

    def answer(body: AnswerRequest, address: str | None) -> dict[str, Any]:
        store.answer(body.token, RaterAnswer(**body.model_dump(exclude={"token"})))
        return {"stored": True}

    def page(request: Request) -> Response:
        return HTMLResponse(served_page(), headers=_HEADERS)

    def progress(request: Request) -> Response:
        key = request.query_params.get("key", "")
        if organiser is None or not secrets.compare_digest(key.encode(), organiser.encode()):
            return Response("Not Found", status_code=404, headers=_HEADERS)
        shown = progress_page(progress_of(study, store.raters(), time.time()), study)
        return HTMLResponse(shown, headers={**_HEADERS, "Content-Security-Policy": PROGRESS_POLICY})

    routes = [
        Route("/", page),
        Route("/progress", progress),
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
    kind: type[BodyT], function: Callable[[BodyT, str | None], dict[str, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    """A JSON request in, a JSON reply out; bad requests get a 4xx with one sentence.

    Where the log cannot be written the reply is 503: the page keeps the answer and sends it again.
    """

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
            address = request.client.host if request.client else None
            return JSONResponse(await run_in_threadpool(function, parsed, address), headers=_HEADERS)
        except Refused as refusal:
            return _error(refusal.status, str(refusal))
        except NotStored as trouble:
            if trouble.first:
                fix = "free space or make it writable; raters' pages keep their answers and send them again"
                print(f"error: {printable(trouble)}; {fix}", file=sys.stderr, flush=True)
            return _error(503, "Nothing can be stored at the moment. Please try again in a minute.")

    return respond


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=_HEADERS)


def serve(
    study: StudyFolder,
    host: str,
    port: int,
    *,
    invites: bool = False,
    url: str | None = None,
    start_limit: int | None = None,
) -> None:
    """Serve the judging page of a study until interrupted (`legibility judge`).

    invites: let in only who has one of the study's invites, made here where there are none; a study that has them is
    always served so. url: what raters open, for the links (None: the address listened on). start_limit: slots that
    one network address may take. Raises UserError where the address cannot be used, a server runs already, or the
    log cannot be written.
    """
    store = Store(study, start_limit=start_limit)
    try:
        with listener(host, port) as listening:
            own = own_url(host, listening)
            known = invitations(study.path, store.free_slots, url or own, wanted=invites)
            store.invites = None if known is None else {i.invite: i.slot - 1 for i in known}
            organiser = organiser_key(study.path)
            link = f"{(url or own).rstrip('/')}/progress?key={organiser}"
            hosts = accepted_hosts(host)
            for line in _greeting(store, own, hosts is None, link):
                print(printable(line), flush=True)
            run_until_stopped(application(store, hosts, organiser), listening, "judge")
    finally:
        store.close()


def _greeting(store: Store, url: str, reachable: bool, progress: str) -> list[str]:
    lines = [
        f"judging page: {url}   ({len(store.study.slots)} raters; stop with Ctrl-C)",
        f"progress, for you alone: {progress}",
    ]
    if store.invites is not None:
        lines.append(f"by invitation: {store.study.path / INVITES} has a link for every rater; keep it to yourself")
    if reachable:
        lines.append(
            "warning: reachable from other machines, over plain http; put a TLS proxy in front for a real study"
        )
        if store.invites is None:
            lines.append(
                "warning: whoever finds the address can take the place of a rater; --invites lets in only those you invite"
            )
    return lines
