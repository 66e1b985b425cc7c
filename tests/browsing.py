"""Pages in a real browser."""

from typing import Any

from playwright.sync_api import Browser, Page


def open_page(
    browser: Browser, url: str, width: int = 1000, colours: Any = "light"
) -> tuple[Page, list[str]]:
    """The page, and a list that fills with what goes wrong on it and with requests to elsewhere."""
    page, wrong = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours), []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
    page.goto(url)
    return page, wrong
