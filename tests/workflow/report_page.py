"""A report of Snakemake as a reader sees it: unpacked, opened in a real browser, clicked through.

As a program it walks through reports: ``python -m tests.workflow.report_page report.zip ...``.
"""

import importlib.util
import shutil
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Root may only start it without its sandbox; nothing may be asked of a network.
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
PATIENCE = 60_000  # milliseconds, of a busy machine


def browser():
    """The path of a browser; nothing where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def why_not():
    """What keeps a browser from being started here; empty if nothing does."""
    if importlib.util.find_spec("playwright") is None:
        return "Python has no package playwright (pip install -r envs/requirements-dev.txt)"
    if browser() is None:
        return f"none of {', '.join(BROWSERS)} is installed (apt-get install chromium)"
    return ""


@contextmanager
def started():
    """A browser without a network, with no window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser(), args=list(OPTIONS))
        try:
            yield running
        finally:
            running.close()


class Watched:
    """A page of a file in a browser without a network; what goes wrong is in ``faults``.

    Args:
        running: the browser.
        html: path of the file.
        options: of the browser's context, such as ``viewport``.
    """

    def __init__(self, running, html, **options):
        window = {"viewport": {"width": 1400, "height": 900}}
        context = running.new_context(offline=True, **{**window, **options})
        context.set_default_timeout(PATIENCE)
        self.faults = []
        self.page = context.new_page()
        context.on("page", self._watch)
        context.on("request", self._asked)
        context.on("requestfailed", self._lost)
        self._watch(self.page)
        self.page.goto(Path(html).as_uri())

    def _watch(self, page):
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("crash", lambda _: self.faults.append("the page crashed"))
        page.on("console", self._said)

    def _said(self, message):
        if message.type in ("error", "assert"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request):
        if not request.url.startswith(("file:", "data:", "blob:", "about:")):
            self.faults.append(f"not in the file: {request.url}")

    def _lost(self, request):
        # A download is an aborted navigation to the browser.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.failure}: {request.url}")


class Page(Watched):
    """One report in a browser. Whatever goes wrong on the page is an error of the next check."""

    def __init__(self, running, archive, folder):
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
        (self.html,) = Path(folder).glob("*/report.html")
        super().__init__(running, self.html)
        self.results = self.page.evaluate("results")
        self.categories = self.page.evaluate("categories")
        self.check("opening")

    def check(self, after):
        """The page shows something, and nothing has gone wrong.

        Raises:
            AssertionError: naming the click after which it did.
        """
        text = self.page.locator("#app").inner_text() if not self.faults else ""
        assert not self.faults, f"after {after}: " + "\n".join(self.faults)
        assert text.strip(), f"after {after} the page is blank"

    def click(self, target, after):
        target.click()
        self.check(after)

    def home(self):
        self.click(self.page.locator("nav ol a").first, "the house")

    def menu(self, name):
        self.click(self.page.get_by_role("link", name=name, exact=True), name)

    def rows(self):
        """The texts of a list of results."""
        return [row.strip() for row in self.page.locator("nav tbody tr").all_inner_texts()]

    def row(self, text):
        found = self.page.locator("nav tbody tr").filter(
            has=self.page.get_by_text(text, exact=True)
        )
        assert found.count() == 1, f"{found.count()} rows {text!r}"
        return found

    def look(self, row, path):
        """Click on a row's eye: a figure is drawn, a page shown, a table downloaded."""
        result = self.results[path]
        eye = row.locator("a").first
        if result["mime_type"].startswith("image/"):
            self.click(eye, f"the eye of {path}")
            image = self.page.locator(f"img[src='{result['data_uri']}']")
            assert image.evaluate("async image => (await image.decode(), image.naturalWidth)") > 0
            return
        if result["mime_type"] == "text/html":
            self.click(eye, f"the eye of {path}")
            inside = self.page.frame_locator(f"iframe[src='{result['data_uri']}']").locator("body")
            assert inside.inner_text().strip()
            self.check(f"the page {path}")
            return
        with self.page.expect_download() as download:
            eye.click()
        self.check(f"the eye of {path}")
        assert download.value.suggested_filename == result["filename"]
        stored = (self.html.parent / result["data_uri"]).read_bytes()
        assert Path(download.value.path()).read_bytes() == stored

    def explain(self, row, path):
        """Click on a row's second icon, and on that of its rule: name, caption, size, rule."""
        result = self.results[path]
        self.click(row.locator("a").nth(1), f"the information on {path}")
        text = self.page.locator("#app").inner_text()
        (label,) = result["labels"].values()
        rule = result["job_properties"]["rule"]
        assert all(part in text for part in (label, path, result["size"], rule)), text
        caption = self.page.locator("nav .prose")
        assert len(caption.inner_text()) > 100
        assert caption.locator(".system-message, .problematic, a").count() == 0
        assert "{{" not in caption.inner_html()
        self.click(self.page.locator("nav a[type=button]").last, f"the information on rule {rule}")

    def menu_names(self):
        """The categories, in the order in which the menu has them."""
        self.home()
        links = [text.strip() for text in self.page.get_by_role("link").all_inner_texts()]
        return [text for text in links if text in self.categories]

    def category(self, name):
        """Open a category from the menu, which calls a single one "Results"."""
        self.home()
        self.menu(name if len(self.categories) > 1 else "Results")

    def walk(self):
        """Click on everything that a reader finds first: menu, categories, every row's icons."""
        self.page.locator("#rulegraph canvas").wait_for()
        for name, part in (("Statistics", "#timeline canvas"), ("Workflow", "#rulegraph canvas")):
            self.menu(name)
            self.page.locator(part).wait_for()
            self.check(name)
        self.menu("About")
        self.click(self.page.get_by_text("react 1").first, "a licence")
        for category, subcategories in self.categories.items():
            (paths,) = subcategories.values()
            self.category(category)
            names = {path: next(iter(self.results[path]["labels"].values())) for path in paths}
            assert sorted(self.rows()) == sorted(names.values())
            for path, name in names.items():
                self.look(self.row(name), path)
                self.explain(self.row(name), path)
                self.category(category)
        self.home()

    def search(self, term):
        """Type into the search, and give the rows."""
        self.home()
        self.page.get_by_placeholder("Search").fill(term)
        self.page.keyboard.press("Enter")
        self.check(f"a search for {term!r}")
        assert self.page.get_by_text("Search results").is_visible()
        return self.rows()

    def lost_in_searches(self, groups):
        """Groups of paths, of which a search for just them shows another number of rows."""
        self.home()
        found = self.page.evaluate(SEARCHES, groups)
        self.check("searches")
        return found


# The search box, without waiting for keys: hundreds of searches in a second.
SEARCHES = """groups => groups.filter(paths => {
  const any = paths.map(path => path.replace(/[.]/g, "[.]")).join("|");
  ReactDOM.flushSync(() => app.setView({navbarMode: "menu"}));
  ReactDOM.flushSync(() => app.setView({navbarMode: "searchresults", searchTerm: `re:^(${any})$`}));
  return document.querySelectorAll("nav tbody tr").length != paths.length;
})"""


def walk_through(archive):
    """Open a report and click on everything; the texts of its results."""
    with started() as running, tempfile.TemporaryDirectory() as folder:
        page = Page(running, archive, folder)
        page.walk()
        return [result["labels"]["result"] for result in page.results.values()]


if __name__ == "__main__":
    for archive in sys.argv[1:]:
        print(archive, *walk_through(archive), sep="\n  ")
