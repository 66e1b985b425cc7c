"""Where officers review corrections and label texts: pages without scripts to fetch, for phone and keyboard.

Reviewers log in with a token of their own. Texts never reach the log.
"""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from secrets import compare_digest
from typing import Annotated, Any
from urllib.parse import urlencode

import uvicorn
from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader
from pydantic import SecretStr
from starlette.staticfiles import StaticFiles

from common.feedback_api import Bucket, Feedback, bearer_of, feedback_router, read_names, store_of
from common.feedback_store import ConflictError, StoreError, UnknownError
from common.settings import SpaceSettings
from exchange import as_csv, as_label_studio, export_lines, from_csv, from_label_studio
from people import LOGGED_IN_SECONDS, Reviewers, agreements
from queues import corrections_in_order, key, next_text

FOLDER = Path(__file__).parent
COOKIE = "reviewer"
MAX_BODY = 5_000_000
REVIEWED_READ = 2_000  # the newest: what is nearly equal to one of them is not asked for again
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger("review")


class Settings(SpaceSettings):
    """See SpaceSettings."""

    reviewers: SecretStr
    feedback_labels: str
    export_token: SecretStr | None = None


class LoginNeeded(Exception):  # noqa: N818 (it is no error)
    """Nobody is logged in."""


def create_app(settings: Settings) -> FastAPI:
    """The pages, /feedback and /export.

    Raises:
        ValueError: a setting can't be used.
    """
    reviewers = Reviewers.read(settings.reviewers.get_secret_value())
    names, store = read_names(settings.feedback_labels), store_of(settings)
    templates = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, trim_blocks=True)
    logins = Bucket()
    app = FastAPI(title="Review", max_body_size=MAX_BODY, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/page", StaticFiles(directory=FOLDER / "page"))
    if settings.feedback_token:
        feedback = Feedback(settings.feedback_token, names, store, None, settings.mask_feedback)
        app.include_router(feedback_router(feedback))

    def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(template).render(values), status, HEADERS)

    @app.exception_handler(LoginNeeded)
    def ask_to_log_in(request: Request, error: LoginNeeded) -> HTMLResponse:
        return page("login.html", 401)

    @app.exception_handler(StoreError)
    def away(request: Request, error: StoreError) -> HTMLResponse:
        return page("trouble.html", 503, said="The database can't be reached. Nothing was lost: try again.")

    @app.exception_handler(UnknownError)
    @app.exception_handler(ConflictError)
    def refused(request: Request, error: Exception) -> HTMLResponse:
        return page("trouble.html", 409, said=f"This can't be done: {error}.")

    def logged_in(request: Request) -> str:
        if (name := reviewers.of_session(request.cookies.get(COOKIE))) is None:
            raise LoginNeeded
        return name

    def from_our_form(request: Request, form_key: Annotated[str, Form()] = "") -> str:
        """Who sent a form of ours: another site has the cookie sent along, and not the key."""
        name = logged_in(request)
        wanted = reviewers.form_key(request.cookies[COOKIE])
        if not compare_digest(form_key.encode(), wanted.encode()):
            raise HTTPException(403, "the form is not from this page: load it anew")
        return name

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/login")
    def login(request: Request, token: Annotated[str, Form(max_length=200)]) -> Response:
        if wait := logins.seconds_to_wait():
            return page("trouble.html", 429, said=f"Too many tries. Wait {wait:.0f} seconds.")
        if (name := reviewers.who(token.strip())) is None:
            return page("login.html", 401, wrong=True)
        answer = RedirectResponse("./", 303, HEADERS)
        is_secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(
            COOKIE,
            reviewers.session(name),
            max_age=LOGGED_IN_SECONDS,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )
        return answer

    @app.post("/logout")
    def logout(name: Annotated[str, Depends(from_our_form)]) -> Response:
        answer = RedirectResponse("./", 303, HEADERS)
        answer.delete_cookie(COOKIE)
        return answer

    @app.get("/")
    def corrections(
        request: Request, name: Annotated[str, Depends(logged_in)], last: str = "", said: str = ""
    ) -> HTMLResponse:
        """The correction to decide next."""
        waiting = corrections_in_order(store.pending(), name)
        return page(
            "correction.html",
            item=waiting[0] if waiting else None,
            left=len(waiting),
            names=names,
            name=name,
            form_key=reviewers.form_key(request.cookies[COOKIE]),
            last=last,
            said=said,
        )

    @app.post("/review/{feedback_id}")
    def review(
        feedback_id: str,
        name: Annotated[str, Depends(from_our_form)],
        verdict: Annotated[str, Form(pattern="^(accept|reject|relabel|undo)$")],
        urgency: Annotated[str, Form()] = "",
        department: Annotated[str, Form()] = "",
    ) -> Response:
        labels = known_labels(names, {"urgency": urgency, "department": department})
        if verdict == "relabel" and not labels:
            raise HTTPException(422, "choose the right label")
        decision = store.review(feedback_id, verdict, name, labels if verdict == "relabel" else {})  # type: ignore[arg-type]
        said = {"accept": "accepted", "reject": "rejected", "relabel": "relabelled", "undo": "taken back"}[
            verdict
        ]
        more = (
            "; a second person has to agree"
            if decision.state == "pending" and verdict in ("accept", "relabel")
            else ""
        )
        query = urlencode({"said": said + more} | ({} if verdict == "undo" else {"last": feedback_id}))
        return RedirectResponse(f"../?{query}", 303, HEADERS)

    @app.get("/texts")
    def texts(request: Request, name: Annotated[str, Depends(logged_in)], place: int = 0) -> HTMLResponse:
        """A text worth a label."""
        said = {
            key(row["message"]): row["correct_urgency"] or row["correct_department"]
            for row in store.reviewed(newest=REVIEWED_READ)
        }
        chosen = next_text(store.unlabelled(), place, said)
        item, why = chosen or (None, "")
        form_key = reviewers.form_key(request.cookies[COOKIE])
        return page("text.html", item=item, why=why, names=names, name=name, form_key=form_key, place=place)

    @app.post("/label/{prediction_id}")
    def label(
        prediction_id: str,
        name: Annotated[str, Depends(from_our_form)],
        why: Annotated[str, Form(pattern="^(margin|label_error|chance)$")],
        place: Annotated[int, Form()],
        urgency: Annotated[str, Form()] = "",
        department: Annotated[str, Form()] = "",
    ) -> Response:
        labels = known_labels(names, {"urgency": urgency, "department": department})
        if not labels:
            raise HTTPException(422, "choose the right label")
        entry = f"review:{prediction_id}"
        feedback_id, _ = store.add_feedback(entry, labels, name, prediction_id=prediction_id, chosen_by=why)
        store.review(feedback_id, "accept", name)
        return RedirectResponse(f"../texts?{urlencode({'place': place + 1})}", 303, HEADERS)

    @app.get("/people")
    def people(request: Request, name: Annotated[str, Depends(logged_in)]) -> HTMLResponse:
        form_key = reviewers.form_key(request.cookies[COOKIE])
        return page("people.html", people=agreements(store.verdicts()), name=name, form_key=form_key)

    @app.get("/files/{kind}")
    def download(kind: str, name: Annotated[str, Depends(logged_in)]) -> Response:
        waiting = store.pending(100_000)
        if kind == "corrections.csv":
            return PlainTextResponse(as_csv(waiting), headers=HEADERS, media_type="text/csv; charset=utf-8")
        if kind == "label_studio.json":
            return JSONResponse(as_label_studio(waiting), headers=HEADERS)
        raise HTTPException(404)

    @app.post("/files")
    def upload(name: Annotated[str, Depends(from_our_form)], file: Annotated[UploadFile, File()]) -> Response:
        """Verdicts from a file; what one row can't do does not keep the others from it."""
        content = file.file.read(MAX_BODY)
        read = from_label_studio if (file.filename or "").endswith(".json") else from_csv
        done, refused = 0, 0
        try:
            for feedback_id, verdict, labels in list(read(content)):
                try:
                    store.review(feedback_id, verdict, name, known_labels(names, labels))  # type: ignore[arg-type]
                    done += 1
                except (UnknownError, ConflictError, HTTPException):
                    refused += 1
        except ValueError as error:
            return page("trouble.html", 422, said=f"The file can't be read: {error}.")
        return RedirectResponse(
            f"./?{urlencode({'said': f'{done} verdicts read, {refused} refused'})}", 303, HEADERS
        )

    @app.get("/export", dependencies=[Depends(bearer_of(settings.export_token))])
    def export(since: str | None = None) -> Response:
        """What was reviewed, as JSON lines: SOURCE of prepare_dataset."""
        try:
            from_time = datetime.fromisoformat(since) if since else None
        except ValueError:
            raise HTTPException(422, "since should be a time such as 2026-01-31T12:00:00+00:00") from None
        lines = "".join(export_lines(store.reviewed(from_time)))
        return PlainTextResponse(lines, headers=HEADERS, media_type="application/x-ndjson")

    return app


def known_labels(names: Mapping[str, list[str]], given: Mapping[str, str]) -> dict[str, str]:
    """The labels that were chosen; 422 for one that there is not."""
    chosen = {label: name for label, name in given.items() if name}
    for label, name in chosen.items():
        if name not in names.get(label, ()):
            raise HTTPException(422, f"{label} should be one of {', '.join(names.get(label, ()))}")
    return chosen


def main() -> int:
    """Serve until stopped; returns 2 if the settings are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = Settings.read(os.environ)
        app = create_app(settings)
    except ValueError as error:
        log.error("%s", error)
        return 2
    uvicorn.run(app, host="0.0.0.0", port=settings.port, access_log=False, proxy_headers=True)  # noqa: S104  a container's
    return 0


if __name__ == "__main__":
    sys.exit(main())
