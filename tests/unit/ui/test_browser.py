"""The pages in a browser, where there is one: axe finds nothing wrong with them, in light, in dark, on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest

from sky_core.config import Settings
from sky_core.ui.answers import Asked
from sky_core.ui.pages import PAGES
from tests.unit.cli.few_jobs import HOUR
from tests.unit.ui.test_pages import RUN, fill

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

DARK = "--blink-settings=preferredColorScheme=0"
# Each page in a frame of its own, so that one start of the browser looks at all of them.
HARNESS = """<!doctype html><title>waits</title><body><script>
async function look(path) {
  const frame = document.createElement("iframe");
  frame.width = innerWidth; frame.height = 900; frame.src = path;
  document.body.append(frame);
  await new Promise((loaded) => { frame.onload = loaded; });
  const inside = frame.contentDocument.documentElement;
  const found = await frame.contentWindow.axe.run(frame.contentDocument, {resultTypes: ["violations"]});
  const wide = inside.scrollWidth > inside.clientWidth + 1;
  frame.remove();
  return [path, wide, found.violations.map((one) => [one.id, one.impact, one.nodes.map((node) => node.html)])];
}
(async () => {
  const all = [];
  for (const path of PATHS) all.push(await look(path));
  document.body.textContent = JSON.stringify(all);
  document.title = "done";
})();
</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages as they are served, without the policy that keeps foreign scripts such as axe out."""
    from sky_core.store import Store

    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path_factory.mktemp("home"))})
    store = Store(settings.store_url)
    jobs = fill(store, time.time() - 2 * HOUR)
    queries = {"/run": {"key": RUN}, "/plan": {"key": RUN}, "/job": {"id": jobs["train"]}}
    axe = f"<script>{(files('axe_core_python') / 'axe.min.js').read_text()}</script>"
    found = {}
    for path, page in PAGES.items():
        text = page(Asked(store, settings, queries.get(path, {}))).text
        found[path] = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: axe, text)
    store.close()
    return found


@pytest.fixture(scope="module")
def address(pages):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = pages.get(self.path) or HARNESS.replace("PATHS", json.dumps(list(pages)))
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/all"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("width", "options"), [(1000, []), (1600, [DARK]), (400, [])], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_and_no_page_is_wider_than_its_window(address, tmp_path, width, options):
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom", *options,
        f"--window-size={width},900", f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", address,
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True).stdout
    assert "<title>done</title>" in said, said[-2000:]
    body = html.unescape(said[said.index("<body>") + 6 : said.rindex("</body>")])
    looked = json.loads(body)
    assert [path for path, _, _ in looked] == list(PAGES)
    assert {path: wrong for path, _, wrong in looked if wrong} == {}
    assert [path for path, wide, _ in looked if wide] == []
