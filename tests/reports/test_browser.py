"""The report as a person meets it: opened from disk in headless Chromium."""

import json

import pytest

from boresight.findings.finding import Finding
from boresight.findings.monitor import write_findings
from boresight.reports.compare import write_comparison
from boresight.reports.page import write_report
from tests.reports.fake_run import write_fake_run
from tests.reports.looks import faults, faults_everywhere

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(write_fake_run(tmp_path_factory.mktemp("browser") / "run", hostile=True))


def _open(chromium, url):
    """A page with the report, and lists that fill with its complaints and its requests."""
    page = chromium.new_page(viewport={"width": 1366, "height": 900}, color_scheme="light")
    complaints, fetched = [], []
    page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(url)
    page.wait_for_selector(".plot[tabindex]")
    return page, complaints, fetched


@pytest.fixture(scope="module")
def opened(chromium, report):
    page, complaints, fetched = _open(chromium, report.as_uri())
    yield page, complaints, fetched
    page.close()


@pytest.fixture
def page(opened, report):
    """The report as it opens. Afterwards: no complaint, no dialog, nothing fetched but the file itself."""
    page, complaints, fetched = opened
    page.fill("#filter", "")
    page.locator("#filter").blur()
    page.click(".chip:has-text('All')")
    yield page
    assert complaints == []
    assert {url for url in fetched if not url.startswith(("data:", "blob:"))} == {report.as_uri()}


def _count(page):
    return page.locator("#count").inner_text()


def test_every_curve_is_drawn(page):
    lines = "plots => plots.map(plot => plot.querySelectorAll('.series').length)"
    drawn = page.eval_on_selector_all(".plot", lines)
    assert len(drawn) == 10 and min(drawn) > 0


def test_arrow_keys_and_pointer_read_values(page):
    """The last held-out loss of the run, by the End key and by the pointer at the right end."""
    plot = page.locator(".plot").first
    plot.focus()
    page.keyboard.press("End")
    by_key = plot.locator(".readout").inner_text()
    assert "optimizer step 200" in by_key and "held out" in by_key
    page.keyboard.press("ArrowLeft")
    assert "optimizer step 199" in plot.locator(".readout").inner_text()
    page.keyboard.press("Home")
    assert plot.locator(".readout").inner_text().splitlines()[0] == "optimizer step 0"
    page.keyboard.press("ArrowRight")
    assert plot.locator(".readout").inner_text().splitlines()[0] == "optimizer step 1"
    page.keyboard.press("Escape")
    assert not plot.locator(".readout.shown").count()
    box = plot.locator("svg").first.bounding_box()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + box["height"] / 2)
    assert plot.locator(".readout.shown").inner_text() == by_key
    page.mouse.move(0, 0)


def test_nothing_is_pale_cut_off_or_covered(chromium, tmp_path):
    """On a laptop, phones and in print, with many findings close together."""
    folder = write_fake_run(tmp_path / "run", hostile=True)
    near = [
        Finding(f"f{i}", "warning", "Why.", "Fix.", step=step) for i, step in enumerate((50, 51, 50, 53, 199))
    ]
    write_findings(folder, near)
    page, complaints, _ = _open(chromium, write_report(folder).as_uri())
    assert faults_everywhere(page) == []
    assert complaints == []
    page.evaluate("document.querySelector('.evidence').style.color = '#bbb'")
    page.evaluate("document.querySelector('h1').style.minWidth = '500vw'")
    assert len(faults(page)) > 1, "planted faults are found"
    page.close()


def test_planted_scripts_are_text(page):
    assert "</script><script>alert(1)</script>" in page.locator(".sample").first.inner_text()
    assert "</script><script>alert(1)</script>" in page.locator(".yaml").text_content()
    assert page.locator("img, iframe, .sample script").count() == 0


def test_what_was_said_on_the_way_is_folded_below_the_answers(page):
    """Of three evaluations the first and the last stand above whole; the one between is cut at 64 tokens."""
    page.click(".chip:has-text('Asked during training')")
    assert page.locator(".sample").count() == 4
    page.keyboard.press("j")
    page.keyboard.press("r")
    note = page.locator(".sample.current .note[open]")
    assert note.locator("summary").all_inner_texts() == ["after step 100"]
    assert note.locator(".text").inner_text().startswith("Half way there. </script>")
    assert note.locator(".text").inner_text().endswith(" …")


def test_filter_by_length(page):
    longer, shorter = (page.locator(f".chip:has-text('{name}') small") for name in ("Longer", "Shorter"))
    assert 0 < int(shorter.inner_text()) <= 60
    page.click(".chip:has-text('Shorter')")
    for sample in page.locator(".sample").all():
        before, after = sample.locator(".answer .role").all_inner_texts()
        assert int(after.split()[-2]) <= int(before.split()[-2])
    assert longer.count() <= 1


def test_filter_by_text_and_by_outcome(page):
    assert _count(page) == "60 prompts"
    page.fill("#filter", "OWLS")
    assert _count(page) == "3 of 60 prompts"
    assert all("owls" in text for text in page.locator(".sample .prompt").all_inner_texts())
    page.fill("#filter", "no such words")
    assert page.locator(".sample").count() == 0
    page.fill("#filter", "")
    page.click(".chip:has-text('Broken')")
    broken = page.locator(".sample").count()
    assert 0 < broken < 60 and _count(page) == f"{broken} of 60 prompts"
    assert page.locator(".sample:first-child .answer:last-child .check.worse").count() > 0


def test_keyboard_steps_through_samples(page):
    place = "[...document.querySelectorAll('.sample')].findIndex(s => s.matches('.current'))"
    for key in "jjkj":
        page.keyboard.press(key)
    assert page.evaluate(place) == 1
    for _ in range(25):
        page.keyboard.press("j")
    assert page.evaluate(place) == 26
    assert page.locator(".sample").count() == 40, "stepping past the drawn samples draws more"


def test_keys_in_the_filter_box_are_text_until_escape(page):
    page.keyboard.press("/")
    page.keyboard.type("jdk")
    assert page.input_value("#filter") == "jdk"
    assert _count(page) == "0 of 60 prompts"
    page.keyboard.press("Escape")
    assert page.input_value("#filter") == "" and _count(page) == "60 prompts"
    page.keyboard.press("j")
    assert page.locator(".sample.current").count() == 1


def test_word_diff_marks_what_changed_and_keeps_the_text(page):
    assert "Sure!" in page.locator(".sample del").all_text_contents()
    marked = page.locator(".sample .text").all_text_contents()
    page.keyboard.press("d")
    assert page.locator(".sample del, .sample ins").count() == 0
    assert page.locator(".sample .text").all_text_contents() == marked
    page.keyboard.press("d")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1366, 900), (375, 812)], ids=["laptop", "phone"])
def test_it_fits_the_screen_and_is_not_blank(page, size, scheme):
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) > 600) == (scheme == "light")
        # A blank page compresses to a few kilobytes.
        assert len(page.screenshot()) > 20_000
    finally:
        page.set_viewport_size({"width": 1366, "height": 900})
        page.emulate_media(color_scheme="light")


def test_curves_change_color_with_the_system(page):
    stroke = "node => getComputedStyle(node).stroke"
    line = page.locator(".plot .series path").last
    light = line.evaluate(stroke)
    page.emulate_media(color_scheme="dark")
    dark = line.evaluate(stroke)
    page.emulate_media(color_scheme="light")
    assert light != dark


def test_a_permalink_opens_its_sample(chromium, report):
    page, complaints, _ = _open(chromium, f"{report.as_uri()}#sample=limit-045")
    assert page.locator(".sample.current .link").text_content() == "#limit-045"
    assert complaints == []
    page.close()


def test_markup_that_got_past_the_escaping_would_not_run(chromium, report):
    """The second wall: even planted as real markup, a handler is refused by the page's policy."""
    page, complaints, _ = _open(chromium, report.as_uri())
    page.evaluate("document.body.insertAdjacentHTML('afterbegin', `<b id=x onclick='window.hit = 1'>x</b>`)")
    page.click("#x")
    assert page.evaluate("window.hit === undefined")
    assert any("Content Security Policy" in complaint for complaint in complaints)
    page.close()


def test_a_comparison_of_three_runs(chromium, tmp_path):
    runs = [write_fake_run(tmp_path / f"run-{seed}", seed=0, steps=24) for seed in range(3)]
    rows = [json.loads(line) for line in (runs[1] / "samples.jsonl").read_text().splitlines()]
    changed = (json.dumps(row | {"after": row["after"] + " Indeed."}) + "\n" for row in rows)
    (runs[1] / "samples.jsonl").write_text("".join(changed))
    page, complaints, _ = _open(chromium, write_comparison(runs, tmp_path / "compare.html").page.as_uri())
    assert page.locator(".sample").first.locator(".answer").count() == 3
    assert page.locator(".answer:first-child ins, .answer:first-child del").count() == 0
    assert page.locator(".answer:nth-child(2) ins").first.text_content().endswith("Indeed.")
    assert page.locator(".answer:nth-child(3) ins").count() == 0, "the third says what the first says"
    plain = page.locator(".answer .text").all_text_contents()
    page.keyboard.press("d")
    assert page.locator(".answer .text").all_text_contents() == plain
    page.click(".chip:has-text('Met by none')")
    assert 0 < page.locator(".sample").count() < 60
    page.set_viewport_size({"width": 375, "height": 812})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert faults_everywhere(page) == []
    assert complaints == []
    page.close()


def test_five_thousand_samples_open_at_once(chromium, tmp_path):
    """Only the first page of samples is drawn, however many there are."""
    folder = write_fake_run(tmp_path / "run", steps=24)
    rows = (folder / "samples.jsonl").read_text()
    (folder / "samples.jsonl").write_text(rows * 84)
    page, complaints, _ = _open(chromium, write_report(folder).as_uri())
    assert _count(page) == "5,040 prompts"
    assert page.locator(".sample").count() == 20
    assert complaints == []
    page.close()
