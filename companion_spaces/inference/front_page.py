"""The page that a browser is shown at `/`: a text box, the answer, and which version gives it.

Files and nothing else: the page asks /predict and /health like any client. Programs get JSON at `/`.
"""

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).with_name("page")
DOCUMENTATION = Path(fastapi_offline.__file__).with_name("static")
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
    ),
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def is_wanted(request: Request) -> bool:
    """Whether a person's browser asks: it names HTML, and a program at most anything."""
    return "text/html" in request.headers.get("accept", "")


def front_page() -> FileResponse:
    return FileResponse(PAGE / "index.html", headers=HEADERS)


def add_pages(app: FastAPI) -> None:
    """What the page consists of, and the documentation, with its scripts from here: see fastapi_offline."""
    app.mount("/page/docs", StaticFiles(directory=DOCUMENTATION))
    app.mount("/page", StaticFiles(directory=PAGE))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return _documentation(
            get_swagger_ui_html(
                openapi_url="openapi.json",
                title=app.title,
                swagger_js_url="page/docs/swagger-ui-bundle.js",
                swagger_css_url="page/docs/swagger-ui.css",
                swagger_favicon_url="data:,",
            )
        )

    @app.get("/redoc", include_in_schema=False)
    def redoc() -> HTMLResponse:
        return _documentation(
            get_redoc_html(
                openapi_url="openapi.json",
                title=app.title,
                redoc_js_url="page/docs/redoc.standalone.js",
                redoc_favicon_url="data:,",
                with_google_fonts=False,
            )
        )


def _documentation(page: HTMLResponse) -> HTMLResponse:
    """Both pages have a script in them, and ReDoc wants a picture from its makers."""
    page.headers["Content-Security-Policy"] = (
        "default-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:; "
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
    )
    return page
