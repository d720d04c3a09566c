"""One nephra, one browser, one case from upload to scene, for all tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from e2e.service import Service, started
from nephra_contract.nifti import write_image
from nephra_phantom import PHASES, Phantom, centred
from page.browsing import PATIENCE_MS, Case, Tab, chromium, launched, opened

BUILT = Path(__file__).parents[2] / "gateway/src/nephra_gateway/page/index.html"
#: Never a seed of the training.
SEED = 90_001
#: As coarse as it may be; finer where the pictures are for people.
COARSE = centred((72, 60, 64), (3.6, 3.6, 3.6))
FINE = centred((112, 96, 96), (3.1, 3.1, 3.1))
#: As a hospital's export might call them.
FILES = {
    "A": "case7_arterial.nii.gz",
    "P": "case7_PortalVenous.nii.gz",
    "D": "case7_delayed.nii.gz",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; skips where there is none."""
    if chromium() is None:
        pytest.skip("no Chromium is installed: the page is not tested")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The phases of one patient, outside of any data root."""
    folder, phantom = tmp_path_factory.mktemp("export"), Phantom(SEED)
    grid = FINE if "NEPHRA_PICTURES" in os.environ else COARSE
    for phase in PHASES:
        write_image(folder / FILES[phase], phantom.volume(phase, grid))
    return {phase: folder / FILES[phase] for phase in PHASES}


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running nephra with the page; skips where that was not built."""
    if "NEPHRA_URL" in os.environ:
        data = Path(os.environ["NEPHRA_DATA"])
        yield Service(os.environ["NEPHRA_URL"], os.environ["NEPHRA_TOKEN"], data)
        return
    if not BUILT.is_file():
        pytest.skip("the page is not built: `make page` does it")
    home = tmp_path_factory.mktemp("nephra")
    (home / "data").mkdir()
    with started(home / "data", home / "state") as running:
        yield running


@pytest.fixture(scope="module")
def uploaded(browser: Browser, service: Service, images: dict[str, Path]) -> Iterator[Case]:
    """Signed in, with the three images there and nothing asked for yet."""
    with opened(browser, service.url) as tab:
        tab.sign_in(service.token)
        tab.page.locator("#files").set_input_files([images["D"], images["P"]])
        _drop(tab, images["A"])
        expect(tab.page.locator(".images .there")).to_have_count(3)
        tab.keep("page-upload")
        yield Case(tab, service)


@pytest.fixture(scope="module")
def early(uploaded: Case) -> Case:
    """The case under way, as far as the quick preview."""
    page = uploaded.tab.page
    page.evaluate(_LISTEN)
    page.get_by_role("button", name="Run").click()
    page.locator(".stage[data-scene][data-image][data-masks]").wait_for()
    uploaded.early = page.locator(".stage").evaluate("e => ({...e.dataset})")
    uploaded.states = set(page.locator(".steps li").evaluate_all("l => l.map(e => e.className)"))
    uploaded.tab.keep("page-running")
    return uploaded


@pytest.fixture(scope="module")
def case(early: Case) -> Case:
    """The case done, with everything that it made on the screen."""
    page = early.tab.page
    page.locator(".stage[data-scene=final][data-masks=final]").wait_for()
    early.lines = page.evaluate("window.lines")
    early.tab.keep("page-scene")
    return early


def _drop(tab: Tab, path: Path) -> None:
    """Drop a file onto the page, as a mouse does."""
    content = list(path.read_bytes())
    transfer = tab.page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], name));
            return transfer;
        }""",
        [path.name, content],
    )
    tab.page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})


_LISTEN = """() => {
    window.lines = [];
    new MutationObserver(() => {
        const line = document.querySelector('.progress .line')?.textContent;
        if (line && line !== window.lines.at(-1)) window.lines.push(line);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
