"""The arena as a person meets it, in headless Chromium."""

import pytest

from boresight.core.files import read_jsonl
from tests.odd_text import as_returned

pytestmark = pytest.mark.browser


@pytest.fixture
def page(chromium, arena):
    """The arena's page. Afterwards: no complaint, and nothing ran that a model wrote."""
    page = chromium.new_page(viewport={"width": 1366, "height": 900})
    complaints = []
    page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(arena.url)
    yield page
    assert page.evaluate("window.hit === undefined")
    assert complaints == []
    page.close()


def shown(page):
    return page.locator("#prompt").inner_text()


def judged(page, count):
    page.locator("#progress", has_text=f"{count} of 6 judged").wait_for()


def votes_of(arena, name):
    return list(read_jsonl(arena.votes.folder / name))


def until(page, condition):
    """Wait for a condition of the page, frame by frame, for 3,600 frames at most."""
    again = "left ? requestAnimationFrame(() => look(left - 1)) : fail(Error('it does not come true'))"
    look = f"const look = left => {condition} ? done() : {again}; look(3600)"
    page.evaluate(f"new Promise((done, fail) => {{ {look} }})")


def test_keys_vote_and_every_vote_is_on_disk_when_the_next_duel_shows(page, arena):
    left = page.locator("#left").text_content()
    page.keyboard.press("ArrowLeft")
    judged(page, 1)
    (vote,) = votes_of(arena, "preferences.jsonl")
    assert left in as_returned(vote["chosen"][0]["content"])
    right = page.locator("#right").text_content()
    page.keyboard.press("2")
    judged(page, 2)
    assert right in as_returned(votes_of(arena, "preferences.jsonl")[1]["chosen"][0]["content"])
    page.keyboard.press("t")
    judged(page, 3)
    assert len(votes_of(arena, "ties.jsonl")) == 1
    assert "wins" not in page.locator("main").inner_text()


def test_skip_undo_and_the_end(page, arena):
    first = shown(page)
    page.keyboard.press("s")
    assert shown(page) != first
    second = shown(page)
    page.keyboard.press("ArrowRight")
    judged(page, 1)
    page.keyboard.press("u")
    judged(page, 0)
    assert shown(page) == second and votes_of(arena, "preferences.jsonl") == []
    assert page.locator("#undo").is_disabled()
    for count in range(1, 7):
        page.locator("#buttons .vote").first.click()
        judged(page, count)
    assert page.locator("#question").inner_text() == "All votes are in"
    assert not page.locator("#duel").is_visible() and len(arena.votes) == 6


@pytest.mark.parametrize("goal", [2])
def test_the_result_is_shown_when_the_votes_are_in_and_asked_for(page, arena):
    assert not page.locator("#reveal").is_visible() and page.locator("#later").is_visible()
    for count, key in enumerate(["ArrowLeft", "t"], start=1):
        page.keyboard.press(key)
        page.locator("#progress", has_text=f"{count} of 2 judged").wait_for()
    assert page.locator("#reveal").is_visible() and not page.locator("#later").is_visible()
    page.keyboard.press("ArrowLeft")  # no vote beyond the last one
    page.locator("#undo").click()
    page.locator("#progress", has_text="1 of 2 judged").wait_for()
    page.keyboard.press("t")
    page.locator("#reveal").click()
    page.locator("h1", has_text="trained-run wins").wait_for()
    assert page.locator("#votes .sample").count() == 2 and len(arena.votes) == 2
    assert page.locator("#votes .badge.better").count() == 1
    assert page.locator("pre", has_text="boresight train dpo data.train=").count() == 1
    page.set_viewport_size({"width": 375, "height": 812})
    assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_a_reload_goes_on_where_it_was(page, arena):
    page.keyboard.press("ArrowLeft")
    judged(page, 1)
    next_prompt = shown(page)
    page.reload()
    assert shown(page) == next_prompt
    assert page.locator("#progress").inner_text() == "1 of 6 judged"


def test_two_tabs_neither_undo_nor_replace_each_others_votes(chromium, page, arena):
    """Chromium reports each refusal as an error on the console, so the second tab has no fixture."""
    other = chromium.new_page()
    other.goto(arena.url)
    page.keyboard.press("ArrowLeft")
    judged(page, 1)
    stored = (arena.votes.folder / "preferences.jsonl").read_bytes()
    before = shown(other)
    other.keyboard.press("ArrowRight")
    other.locator("#trouble", has_text="This prompt has a vote already; reload the page.").wait_for()
    assert shown(other) == before and (arena.votes.folder / "preferences.jsonl").read_bytes() == stored
    other.reload()
    other.keyboard.press("t")
    judged(other, 2)
    page.keyboard.press("t")
    judged(page, 2)  # the same vote on the second prompt
    page.keyboard.press("t")
    judged(page, 3)
    other.locator("#undo").click()
    other.locator("#trouble", has_text="Only the last vote can be taken back").wait_for()
    assert len(arena.votes) == 3 and arena.votes.ties == 2
    other.close()


@pytest.mark.parametrize("words", [2000])
def test_scrolling_a_long_answer_is_no_vote(page, arena):
    """Down to its end and beyond it, by keys, with the focus on the answer and on the page."""
    answer = page.get_by_role("region", name="Right answer")
    answer.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    until(page, "document.getElementById('right').scrollTop > 0")
    page.keyboard.press("End")
    until(page, "(a => a.scrollTop + a.clientHeight >= a.scrollHeight - 1)(document.getElementById('right'))")
    page.keyboard.press("ArrowDown")
    page.set_viewport_size({"width": 600, "height": 400})
    page.locator("body").press("ArrowDown")
    until(page, "scrollY > 0")
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("t")
    judged(page, 1)
    assert len(arena.votes) == arena.votes.ties == 1


def test_an_arrow_that_scrolls_sideways_is_no_vote(page, arena):
    page.evaluate("document.querySelector('h1').style.minWidth = '150vw'")
    page.keyboard.press("ArrowRight")
    until(page, "scrollX > 5")  # a pixel of a smooth scroll counts as none, so that the key would vote
    page.keyboard.press("ArrowLeft")
    until(page, "scrollX === 0")
    page.keyboard.press("ArrowLeft")  # nothing is left to scroll to
    judged(page, 1)
    assert len(arena.votes) == 1


def test_short_answers_are_no_stops_of_the_tab_key(page):
    assert page.get_by_role("region").count() == 0


@pytest.mark.parametrize(("goal", "words"), [(1, 2000)])
def test_long_answers_of_the_result_are_reached_by_keys(page, arena):
    page.keyboard.press("t")
    page.locator("#reveal").click()
    page.locator("#votes .sample").first.wait_for()
    regions = page.locator("#votes [role=region]")
    names = regions.evaluate_all("all => all.map(each => [each.ariaLabel, each.tabIndex])")
    assert names == [["Answer of base-run", 0], ["Answer of trained-run", 0]]


def test_a_vote_that_is_not_saved_is_told_and_kept_on_the_screen(chromium, arena, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    page = chromium.new_page()
    page.goto(arena.url)
    before = shown(page)
    monkeypatch.setattr("boresight.arena.votes._to_disk", full)
    page.keyboard.press("ArrowLeft")
    page.locator("#trouble", has_text="The vote is not saved: No space left on device.").wait_for()
    assert shown(page) == before
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1366, 768), (375, 812)], ids=["laptop", "phone"])
def test_it_fits_the_screen_with_the_buttons_in_sight(page, size, scheme):
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#buttons").bounding_box()
    assert box["y"] + box["height"] <= height
    assert len(page.screenshot()) > 10_000
