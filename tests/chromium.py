"""Pages looked at in Chromium, where there is one: each in a frame, so that one start looks at all of them."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARK = "--blink-settings=preferredColorScheme=0"
# ``look`` makes of a path what the page's test wants to know of it.
HARNESS = """<!doctype html><title>waits</title><body><script>
async function framed(path, look) {
  const frame = document.createElement("iframe");
  frame.width = innerWidth; frame.height = 900; frame.src = path;
  document.body.append(frame);
  await new Promise((loaded) => { frame.onload = loaded; });
  const said = await look(frame.contentDocument, frame.contentWindow, path);
  frame.remove();
  return said;
}
(async () => {
  const all = [];
  for (const path of PATHS) all.push(await framed(path, LOOK));
  document.body.textContent = JSON.stringify(all);
  document.title = "done";
})();
</script>"""


def axe() -> str:
    """The script that brings axe into a page."""
    return f"<script>{(files('axe_core_python') / 'axe.min.js').read_text()}</script>"


@contextmanager
def served(pages: Mapping[str, str], look: str) -> Iterator[str]:
    """The address of a page that looks at all of these, by their paths.

    Args:
        look: An async function in JavaScript: of a document, its window and path it gives what is to be said of them.
    """
    harness = HARNESS.replace("PATHS", json.dumps(list(pages))).replace("LOOK", look)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((pages.get(self.path) or harness).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/all"
        server.shutdown()


def looked(address: str, folder: Path, width: int, options: Sequence[str] = ()) -> list[Any]:
    """What ``look`` said of each page, in a window of that many pixels."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom", *options,
        f"--window-size={width},900", f"--user-data-dir={folder}", "--virtual-time-budget=120000", address,
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True).stdout
    assert "<title>done</title>" in said, said[-2000:]
    found: list[Any] = json.loads(html.unescape(said[said.index("<body>") + 6 : said.rindex("</body>")]))
    return found
