"""The pages in a browser, where there is one: axe finds nothing wrong with them, in light, in dark, on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest

from benchmarks import listings
from sky_core.config import Settings
from sky_core.store import Store
from sky_core.ui.answers import Asked
from sky_core.ui.pages import PAGES
from tests.chromium import CHROMIUM, DARK, axe, looked, served
from tests.unit.cli.few_jobs import HOUR
from tests.unit.ui.test_pages import RUN, fill

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
LOOK = """async (inside, window, path) => {
  const found = await window.axe.run(inside, {resultTypes: ["violations"]});
  const wide = inside.documentElement.scrollWidth > inside.documentElement.clientWidth + 1;
  return [path, wide, found.violations.map((one) => [one.id, one.impact, one.nodes.map((node) => node.html)])];
}"""


def drawn(store: Store, settings: Settings, queries: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The pages as they are served, without the policy that keeps foreign scripts such as axe out."""
    script = axe()
    found = {}
    for path, page in PAGES.items():
        text = page(Asked(store, settings, queries.get(path, {}))).text
        found[path] = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: script, text)
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path_factory.mktemp("home"))})
    store = Store(settings.store_url)
    jobs = fill(store, time.time() - 2 * HOUR)
    yield drawn(store, settings, {"/run": {"key": RUN}, "/plan": {"key": RUN}, "/job": {"id": jobs["train"]}})
    store.close()


@pytest.fixture(scope="module")
def address(pages):
    with served(pages, LOOK) as found:
        yield found


@pytest.mark.parametrize(("width", "options"), [(1000, []), (1600, [DARK]), (400, [])], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_and_no_page_is_wider_than_its_window(address, tmp_path, width, options):
    found = looked(address, tmp_path, width, options)
    assert [path for path, _, _ in found] == list(PAGES)
    assert {path: wrong for path, _, wrong in found if wrong} == {}
    assert [path for path, wide, _ in found if wide] == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "options"), [(1600, [DARK]), (400, [])], ids=["dark", "phone"])
def test_so_it_is_with_ten_thousand_jobs(tmp_path, width, options):
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    listings.fill(settings.store_url, 10_000)
    store = Store(settings.store_url)
    queries = {"/run": {"key": store.run_lines(limit=1)[0].key}, "/job": {"id": store.job_lines(limit=1)[0].id}}
    with served(drawn(store, settings, queries | {"/plan": queries["/run"]}), LOOK) as address:
        found = looked(address, tmp_path / "profile", width, options)
    store.close()
    assert [path for path, _, _ in found] == list(PAGES)
    assert {path: wrong for path, _, wrong in found if wrong} == {}
    assert [path for path, wide, _ in found if wide] == []
