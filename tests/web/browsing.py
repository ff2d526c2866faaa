"""A real Chromium without a screen: one on the PATH, Debian's for instance, else Playwright's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")

#: Nothing of the browser's own looks for the network; root may start it.
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Tells what the policy forbade, and how far things have jumped on the page.
_WATCH = """
addEventListener("securitypolicyviolation", (event) => console.error("policy: " + event.violatedDirective));
window.jumped = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.jumped += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_SERIOUS = """
async (rules) => {
  const options = { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) };
  const found = (await axe.run(document, options)).violations;
  return found.filter((each) => ["serious", "critical"].includes(each.impact))
    .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.target} ${node.failureSummary}`));
}
"""


def launch(playwright: Playwright) -> Browser:
    """Starts it."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    return playwright.chromium.launch(executable_path=path, args=list(_FLAGS))


class Visit:
    """One person at one screen; what the console complains of is remembered."""

    def __init__(self, browser: Browser, url: str, *, phone: bool = False, dark: bool = False) -> None:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
        self.context: BrowserContext = browser.new_context(
            base_url=url,
            viewport=size,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            locale="en-GB",
            timezone_id="Asia/Kolkata",
        )
        self.context.set_default_timeout(15_000)
        self.context.add_init_script(_WATCH)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def log_in(self, password: str) -> None:
        self.page.goto("/")
        self.page.get_by_label("Password").fill(password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/")

    def read(self, path: str) -> Any:
        """JSON of the API, with this session."""
        return self.context.request.get(path).json()

    def barriers(self, rules: list[str] | None = None) -> list[str]:
        """What axe finds serious on this page; all of its rules where none are named."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE)
        found: list[str] = self.page.evaluate(_SERIOUS, rules)
        return found

    def too_wide(self) -> int:
        """Pixels that the page is wider than the screen."""
        return int(self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))

    def close(self) -> None:
        self.context.close()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")
