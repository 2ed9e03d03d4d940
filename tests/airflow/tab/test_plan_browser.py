"""The tab on a DAG run in a browser: three tasks and two hundred, light and dark, by keyboard alone."""

from __future__ import annotations

import html
import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest

from sky_core import Pipeline, Task
from sky_core.broker import Broker
from tests.airflow.tab.test_plan_tab import client, logged_in  # noqa: F401 - a fixture
from tests.unit.ui.test_browser import CHROMIUM, DARK

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
SIZES = (3, 200)
# In a frame each: what axe finds, whether all that can be used can be reached by keys, and whether it fits the window.
HARNESS = """<!doctype html><title>waits</title><body><script>
async function look(path) {
  const frame = document.createElement("iframe");
  frame.width = innerWidth; frame.height = 900; frame.src = path;
  document.body.append(frame);
  await new Promise((loaded) => { frame.onload = loaded; });
  const inside = frame.contentDocument;
  for (const folded of inside.querySelectorAll("details")) folded.open = true;
  const found = await frame.contentWindow.axe.run(inside, {resultTypes: ["violations"]});
  const used = [...inside.querySelectorAll("a[href], summary, button, input, select, [tabindex]")];
  const missed = used.filter((one) => {
    one.focus();
    return one.tabIndex < 0 || inside.activeElement !== one;
  });
  const root = inside.documentElement;
  const said = {
    rows: inside.querySelectorAll("tbody tr").length, used: used.length, wide: root.scrollWidth > root.clientWidth + 1,
    missed: missed.map((one) => one.outerHTML), wrong: found.violations.map((one) => [one.id, one.impact]),
    dark: frame.contentWindow.getComputedStyle(inside.body).backgroundColor,
  };
  frame.remove();
  return said;
}
(async () => {
  const all = [];
  for (const path of PATHS) all.push(await look(path));
  document.body.textContent = JSON.stringify(all);
  document.title = "done";
})();
</script>"""


@pytest.fixture
def pages(client):  # noqa: F811
    """The tab's pages as Airflow's API server gives them to one who may see the DAG, with axe in them."""
    logged_in(client)
    axe = f"<script>{(files('axe_core_python') / 'axe.min.js').read_text()}</script>"
    found = {}
    for size in SIZES:
        names = [f"t{number}" for number in range(size)]
        needs = {"cloud": "aws", "instance_type": "m5.large"}
        tasks = tuple(Task(name=name, run="true", hours=1, resources=needs) for name in names)
        order = tuple(("t0", name) for name in names[1:])
        Broker.open().plan(f"airflow/d/run{size}/0", Pipeline(name="d", tasks=tasks, order=order))
        page = client.get("/plan", params={"dag_id": "d", "run_id": f"run{size}"})
        assert page.status_code == 200
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.text)
        found[f"/{size}"] = text.replace("</head>", f"{axe}</head>", 1)
    return found


@pytest.fixture
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


def test_the_tab_in_a_browser(address, tmp_path):
    grounds = []
    for number, options in enumerate(([], [DARK])):
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
            "--window-size=1200,900", f"--user-data-dir={tmp_path / str(number)}", "--virtual-time-budget=120000",
            *options, address,
        ]  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True).stdout
        assert "<title>done</title>" in said, said[-2000:]
        looked = json.loads(html.unescape(said[said.index("<body>") + 6 : said.rindex("</body>")]))
        for size, one in zip(SIZES, looked, strict=True):
            assert one["rows"] >= size
            assert one["used"] > 0
            assert (one["missed"], one["wrong"], one["wide"]) == ([], [], False)
        grounds.append(looked[0]["dark"])
    assert grounds[0] != grounds[1], "dark is another ground"
