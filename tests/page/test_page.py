"""The page in a real browser: from the images to a scene that can be turned."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import trimesh
from playwright.sync_api import Browser, Download, Route, expect

from e2e.service import Service
from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from page.browsing import Case, changed, colours, opened

pytestmark = pytest.mark.e2e

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"


def test_a_wrong_token_is_refused_in_a_sentence(browser: Browser, service: Service) -> None:
    """And nothing of it stays."""
    with opened(browser, service.url) as tab:
        tab.page.get_by_label("Access token").fill("not the token")
        tab.page.get_by_role("button", name="Sign in").click()
        expect(tab.page.get_by_role("alert")).to_contain_text("token is not known")
        assert tab.page.evaluate("sessionStorage.length") == 0


def test_the_token_is_kept_in_the_tab_alone(uploaded: Case) -> None:
    """No cookie, nothing that outlives the tab."""
    page = uploaded.tab.page
    assert page.evaluate("Object.values(sessionStorage)") == [uploaded.service.token]
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []


def test_phases_are_guessed_from_names_and_can_be_corrected(
    browser: Browser, service: Service, images: dict[str, Path]
) -> None:
    """Two images of one phase are not run."""
    with opened(browser, service.url, token=service.token) as tab:
        tab.page.locator("#files").set_input_files(list(images.values()))
        selects = tab.page.locator(".images select")
        expect(selects).to_have_count(3)
        assert selects.evaluate_all("l => l.map(e => e.value)") == ["A", "P", "D"]
        run = tab.page.get_by_role("button", name="Run")
        expect(run).to_be_enabled()
        selects.nth(2).select_option("A")
        expect(run).to_be_disabled()
        expect(tab.page.locator("#why-not")).to_contain_text("Two images")
        selects.nth(2).select_option("")
        tab.page.get_by_label("Only these").check()
        expect(tab.page.get_by_label(re.compile("Urinary tract"))).to_be_disabled()
        expect(run).to_be_enabled()


def test_what_was_uploaded_is_what_was_there(uploaded: Case, images: dict[str, Path]) -> None:
    """Each file, byte by byte, where the page says."""
    rows = uploaded.tab.page.locator(".images .name > span")
    for path in rows.evaluate_all("l => l.map(e => e.title)"):
        found = uploaded.service.get(f"files/{path}")
        original = next(p for p in images.values() if p.name == Path(path).name)
        assert found.content == original.read_bytes()


def test_an_upload_goes_on_after_a_broken_connection(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    """Lost pieces are sent again, and the whole is right."""
    large = tmp_path / "large.nii"
    large.write_bytes(np.random.default_rng(1).bytes(9 * 2**20 + 17))
    tried: list[str] = []
    with opened(browser, service.url, token=service.token) as tab:

        def break_once(route: Route) -> None:
            span = route.request.headers.get("content-range", "")
            tried.append(span)
            if tried.count(span) == 1 and len(tried) == 2:
                route.abort("connectionreset")
            else:
                route.fallback()

        tab.page.route("**/files/**", break_once)
        tab.page.locator("#files").set_input_files(large)
        tab.page.locator(".images .there").wait_for()
        path = tab.page.locator(".images .name > span").get_attribute("title")
    assert len([t for t in tried if t]) == 4
    content = service.get(f"files/{path}").content
    assert hashlib.sha256(content).digest() == hashlib.sha256(large.read_bytes()).digest()


def test_files_of_the_data_root_can_be_chosen(uploaded: Case, browser: Browser) -> None:
    """Folder by folder, without uploading anything."""
    service = uploaded.service
    with opened(browser, service.url, token=service.token) as tab:
        tab.page.get_by_role("button", name="From the data root").click()
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("button", name="uploads").click()
        dialog.get_by_role("button", name=re.compile(r"\d{4}-")).first.click()
        dialog.get_by_role("checkbox").first.check()
        dialog.get_by_role("button", name="Use these").click()
        expect(tab.page.locator(".images .there")).to_have_count(1)
        assert tab.said == []


def test_progress_is_seen_step_by_step(case: Case) -> None:
    """Percentages rise, steps have states, and a screen reader hears of it."""
    seen = [int(found[1]) for line in case.lines if (found := re.match(r"(\d+) %", line))]
    assert len(set(seen)) >= 5
    assert seen == sorted(seen)
    assert {"finished", "waiting"} < case.states
    assert case.tab.page.locator(".progress [aria-live=polite]").first.text_content()


def test_results_are_seen_before_all_is_done(case: Case) -> None:
    """Surfaces and masks come while the models still run."""
    assert case.early["scene"] != "final"
    assert case.early["masks"] != "final"


def test_slices_and_scene_are_drawn(case: Case) -> None:
    """Neither canvas is empty, and in the slices the masks have colours."""
    assert colours(case.tab.picture("scene")) > 300
    slices = case.tab.picture("slices")
    assert colours(slices) > 300
    assert (np.ptp(slices, axis=2) > 40).sum() > 500


def test_a_structure_switched_off_is_gone_from_both(case: Case) -> None:
    """And it comes back as it was."""
    tab = case.tab
    liver = tab.page.get_by_label("Liver", exact=True)
    before = {view: tab.picture(view) for view in ("scene", "slices")}
    liver.uncheck()
    assert changed(before["scene"], tab.picture("scene")) > 1000
    assert changed(before["slices"], tab.picture("slices")) > 300
    liver.check()
    assert changed(before["scene"], tab.picture("scene")) == 0
    assert changed(before["slices"], tab.picture("slices")) == 0


def test_opacity_is_seen(case: Case) -> None:
    """What is around the kidneys can be seen through, more or less."""
    before = case.tab.picture("scene")
    slider = case.tab.page.get_by_label("Opacity of Liver, percent")
    old = slider.input_value()
    slider.fill("95")
    assert changed(before, case.tab.picture("scene")) > 1000
    slider.fill(old)
    assert changed(before, case.tab.picture("scene")) == 0


def test_volumes_are_those_of_the_answer(case: Case) -> None:
    """In mL, beside each structure."""
    answer = case.service.get(f"tickets/{case.ticket}").json()["result"]
    for name in ("kidney_left", "liver"):
        row = case.tab.page.locator(f"li.structure:has(#structure-{name})")
        shown = float((row.locator(".volume").text_content() or "").rstrip(" mL").replace(",", ""))
        assert shown == pytest.approx(answer["volumes_ml"][name], rel=0.01)


def test_a_bridge_is_listed_and_shown(case: Case) -> None:
    """It is marked in a colour that nothing else has, until it is let go."""
    report = case.service.get(f"tickets/{case.ticket}").json()["result"]["report"]
    bridges = [b for r in report.values() for b in r.get("bridges", [])]
    buttons = case.tab.page.locator("button.bridge")
    assert buttons.count() == len(bridges) > 0

    def marked() -> int:
        red, green, blue = np.moveaxis(case.tab.picture("scene"), 2, 0)
        return int(((red > green + 60) & (blue > green + 60)).sum())

    assert marked() == 0
    buttons.first.click()
    assert marked() > 20
    expect(buttons.first).to_have_attribute("aria-pressed", "true")
    buttons.first.click()
    assert marked() == 0


def test_files_can_be_downloaded_and_read(case: Case, tmp_path: Path) -> None:
    """GLB, OBJ with its colours, and the mask, all of the same structures."""
    page = case.tab.page

    def fetched(name: str) -> Path:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=re.compile(f"^{name}")).click()
        download: Download = waiting.value
        path = tmp_path / download.suggested_filename
        download.save_as(path)
        return path

    mask = read_labels(fetched("Mask"))
    present = {names.name_of(number) for number in mask.present}
    glb = trimesh.load(fetched("3D scene"))
    assert isinstance(glb, trimesh.Scene)
    assert set(glb.geometry) == present
    with zipfile.ZipFile(fetched("Surfaces")) as packed:
        suffixes = {Path(n).suffix: packed.read(n) for n in packed.namelist()}
    assert set(suffixes) == {".obj", ".mtl"}
    obj = trimesh.load(io.BytesIO(suffixes[".obj"]), file_type="obj", split_object=True)
    assert isinstance(obj, trimesh.Scene)
    assert len(obj.geometry) == len(present)


def test_keys_turn_the_scene(case: Case) -> None:
    """It can be reached and turned without a mouse."""
    canvas = case.tab.page.locator(".view.scene canvas")
    canvas.focus()
    before = case.tab.picture("scene")
    for _ in range(3):
        canvas.press("ArrowLeft")
    assert changed(before, case.tab.picture("scene")) > 1000
    case.tab.page.get_by_role("button", name="Front").click()
    canvas.focus()
    assert changed(before, case.tab.picture("scene")) == 0


def test_history_lists_cancels_and_tries_again(browser: Browser, case: Case) -> None:
    """A finished case is opened, a running one is cancelled, a cancelled one is run again."""
    service, request = case.service, case.service.get(f"tickets/{case.ticket}").json()["request"]
    with opened(browser, service.url, token=service.token, at="#/tickets") as tab:
        row = tab.page.locator("tr", has_text=case.ticket[:8])
        expect(row).to_contain_text("Finished")
        expect(tab.page.locator(".numbers")).to_contain_text("Found again")
        row.get_by_role("link").click()
        tab.page.locator(".stage[data-scene=final]").wait_for()
        # The same again comes from the cache, at once; computed anew it takes its time.
        fresh = tab.page.evaluate(_START, [service.token, request])
        tab.page.goto(f"{service.url}/#/tickets/{fresh}")
        tab.page.get_by_role("button", name="Cancel").click()
        expect(tab.page.locator("#progress-title")).to_have_text("Cancelled")
        tab.page.get_by_role("button", name="Try again").click()
        expect(tab.page).not_to_have_url(re.compile(fresh))
        expect(tab.page.locator("#progress-title")).to_have_text("Finished")
        expect(tab.page.locator(".line")).to_contain_text("cache")
        assert tab.said == []


def test_a_broken_connection_is_gone_on_with(browser: Browser, case: Case) -> None:
    """From the last event that was seen, until the end of the ticket."""
    service, request = case.service, case.service.get(f"tickets/{case.ticket}").json()["request"]
    asked: list[str | None] = []
    with opened(browser, service.url, token=service.token) as tab:

        def cut(route: Route) -> None:
            asked.append(route.request.headers.get("last-event-id"))
            if len(asked) == 1:
                said = 'id: 1\nevent: progress\ndata: {"event": "progress", "fraction": 0.01}\n\n'
                route.fulfill(content_type="text/event-stream", body=said)
            else:
                route.fallback()

        tab.page.route("**/events", cut)
        fresh = tab.page.evaluate(_START, [service.token, request])
        tab.page.goto(f"{service.url}/#/tickets/{fresh}")
        expect(tab.page.locator(".steps .running .said").first).to_have_text(re.compile("[1-9]"))
        httpx.delete(f"{service.url}/tickets/{fresh}", headers=service.headers, timeout=60)
        expect(tab.page.locator("#progress-title")).to_have_text("Cancelled")
        assert asked[:2] == [None, "1"]
        assert tab.said == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 375])
def test_nothing_is_in_the_way_of_anybody(
    browser: Browser, case: Case, dark: bool, width: int
) -> None:
    """Axe finds nothing serious in any view, and nothing is wider than a narrow screen."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `make page` does it")
    service = case.service
    with opened(browser, service.url, dark=dark, width=width) as tab:
        places = {"": "h1", "#/": ".chip", "#/tickets": ".numbers dd"}
        places[f"#/tickets/{case.ticket}"] = ".stage[data-scene=final][data-masks=final]"
        for place, ready in places.items():
            if place == "#/":
                tab.sign_in(service.token)
            elif place:
                tab.page.goto(f"{service.url}/{place}")
            tab.page.locator(ready).first.wait_for()
            tab.page.evaluate(AXE.read_text())
            found = tab.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                (v["id"], [n["html"] for n in v["nodes"]])
                for v in found["violations"]
                if v["impact"] in ("serious", "critical")
            ]
            assert serious == [], place
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, place
        if width == 1440 and dark:
            tab.keep("page-dark")
        assert tab.said == []
        assert tab.strangers == []


def test_nothing_was_complained_of_and_nobody_else_was_asked(case: Case) -> None:
    """No error, no warning, nothing against the page's policy, no other host."""
    assert case.tab.said == []
    assert case.tab.strangers == []


_START = """async ([token, request]) => {
    const answer = await fetch('cases', {
        method: 'POST',
        headers: {
            Authorization: `Bearer ${token}`, 'Content-Type': 'application/json',
            Prefer: 'respond-async', 'Cache-Control': 'no-cache',
        },
        body: JSON.stringify(request),
    });
    return (await answer.json()).ticket;
}"""
