"""Work that outlives a run of a page: found again by its key, stopped when nobody waits, never mixed up."""

import threading
import time
from dataclasses import replace

import pytest
from pages import FASHION, bars, opened
from PIL import Image

import xai
from xai.dashboard.session import models as work
from xai.dashboard.session import samples as sets
from xai.dashboard.session import tasks
from xai.dashboard.session import uploads as pictures
from xai.dashboard.session.models import ModelCopies, load_model
from xai.dashboard.session.tasks import PageLink, ResultCache, TaskQueue

WAIT = 20  # seconds


def gated(go):
    """Return work that reports until it is let go, and how often it was begun."""
    begun = []

    def ask(report):
        begun.append(threading.current_thread())
        while not go.is_set():
            report(1, 4)
            time.sleep(0.01)
        return "found"

    return ask, begun


@pytest.fixture
def place():
    made = TaskQueue()
    yield made
    made.clear()


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_work_goes_on_and_a_second_session_finds_it(place):
    go = threading.Event()
    ask, begun = gated(go)
    first = place.start(("k",), "Work", ask, "one", PageLink("stress", {"eps": "8"}))
    until(lambda: first.share == 0.25)
    assert place.knows(("k",))
    assert place.start(("k",), "Work", ask, "two", None) is first
    place.leave(("k",), "one")
    assert first.open  # the other one still waits
    go.set()
    first.wait(WAIT)
    assert place.done.find(("k",)) == "found"
    assert len(begun) == 1
    assert place.knows(("k",))
    assert place.open_tasks("two") == []


def test_work_that_nobody_waits_for_any_more_stops(place):
    ask, _ = gated(threading.Event())
    task = place.start(("k",), "Work", ask, "one", None)
    place.leave_all_but({("k",)}, "one")
    assert task.open
    place.leave_all_but(set(), "one")
    task.wait(WAIT)
    assert task.over
    assert not place.knows(("k",))


def test_work_of_a_closed_browser_stops_after_a_while(place, monkeypatch):
    there = {"one": True}
    monkeypatch.setattr(tasks, "_is_there", lambda session: there.get(session, False))
    monkeypatch.setattr(tasks, "_LOOK", 0.0)
    monkeypatch.setattr(tasks, "_PATIENCE", 0.3)
    ask, _ = gated(threading.Event())
    task = place.start(("k",), "Work", ask, "one", None)
    time.sleep(0.6)
    assert task.open
    there["one"] = False  # a reload: the browser comes back as another session
    there["two"] = True
    assert place.start(("k",), "Work", ask, "two", None) is task
    time.sleep(0.6)
    assert task.open
    there["two"] = False
    task.wait(WAIT)
    assert task.over


def test_what_goes_wrong_on_purpose_is_a_result_and_what_should_not_is_raised(place):
    def refuse(_):
        raise xai.InputError("No.")

    def broken(_):
        raise ZeroDivisionError

    place.start(("a",), "Work", refuse, "one", None).wait(WAIT)
    assert isinstance(place.done.find(("a",)), xai.InputError)
    task = place.start(("b",), "Work", broken, "one", None)
    task.wait(WAIT)
    assert isinstance(task.failure, ZeroDivisionError)
    assert not place.knows(("b",))


def test_only_a_few_work_at_once(place):
    go = threading.Event()
    asks = [gated(go) for _ in range(5)]
    all_of_them = [place.start((k,), "Work", ask, "one", None) for k, (ask, _) in enumerate(asks)]
    until(lambda: sum(task.working for task in all_of_them) == 3)
    time.sleep(0.1)
    assert sum(len(begun) for _, begun in asks) == 3
    all_of_them[-1].stop()
    go.set()
    for task in all_of_them:
        task.wait(WAIT)
    assert sum(len(begun) for _, begun in asks) == 4  # the one that was stopped before its turn was never begun


def test_a_click_does_not_begin_the_work_anew(monkeypatch):
    calls, right = [], xai.explain

    def explain(*arguments, **more):
        calls.append(arguments[2])
        return right(*arguments, **more)

    monkeypatch.setattr(xai, "explain", explain)
    app = opened("explain", model=FASHION, method="occlusion")
    again = opened("explain", model=FASHION, method="occlusion")  # as after a reload: another session
    assert calls == ["occlusion"]
    assert bars(app)[0] == bars(again)[0]


def test_a_reload_finds_what_a_button_asked_for():
    app = opened("explain", model=FASHION)
    next(button for button in app.button if button.label == "Check this map").click().run()
    said = [one.value for one in (*app.success, *app.warning, *app.error)]
    again = opened("explain", model=FASHION)
    assert [one.value for one in (*again.success, *again.warning, *again.error)] == said != []
    assert again.session_state["jobs"].requested == app.session_state["jobs"].requested  # goes on when the page is left


def test_the_page_raises_what_should_not_happen(monkeypatch):
    def explain(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(xai, "explain", explain)
    with pytest.raises(AssertionError):
        opened("explain", model=FASHION, method="occlusion")


def test_each_piece_of_work_has_a_model_of_its_own():
    first, loaded = xai.load(FASHION), []

    def another():
        loaded.append(xai.load(FASHION))
        return loaded[-1]

    lender = ModelCopies(first, another)
    with lender.borrowed() as one, lender.borrowed() as two:
        assert one is first
        assert two is loaded[0]
        assert lender.lent() == 2
    with lender.borrowed() as one:
        assert one is first
    assert len(loaded) == 1


def test_a_file_that_is_another_model_by_now_is_not_lent():
    first = xai.load(FASHION)
    lender = ModelCopies(first, lambda: xai.load("example:fashion-shortcut"))
    seen = []

    def work():
        with lender.borrowed() as one:
            seen.append(one)

    with lender.borrowed():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(0.3)
        assert seen == []  # it waits for the right one
    thread.join(WAIT)
    assert seen == [first]


def test_quick_work_does_not_wait_for_long_work():
    model = load_model(FASHION)
    with model.borrowed():  # as long work does
        app = opened("explain", model=FASHION)
    assert not app.exception
    assert app.get("bidi_component")


def test_the_same_weights_with_other_names_of_classes_are_another_model():
    one = load_model(FASHION)
    other = replace(one, name="upload:fashion-without-names")
    method = next(info for info in xai.methods() if info.name == "saliency")
    asked = pictures.garments()["Bag"], work.ExplanationRequest(method, (), None, "logit", {}, 0), None
    assert one.fingerprint == other.fingerprint
    assert work.explanation_job(one, *asked).key != work.explanation_job(other, *asked).key


def test_results_of_files_that_have_changed_are_others(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    first = sets.draw_sample(str(tmp_path), 10, 0)
    assert sets.draw_sample(str(tmp_path), 10, 0) is first
    Image.new("L", (8, 8)).save(tmp_path / "b" / "2.png")
    second = sets.draw_sample(str(tmp_path), 10, 0)
    assert (len(first.data), len(second.data)) == (2, 3)
    assert first.key != second.key
    assert sets.classes_of(str(tmp_path)) == ("a", "b")
    (tmp_path / "c").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "c" / "1.png")
    assert sets.classes_of(str(tmp_path)) == ("a", "b", "c")


def test_results_of_all_sessions_are_kept_within_limits():
    kept = ResultCache()
    kept.keep(("a",), 1)
    assert ("a",) in kept
    kept.drop(("a",))
    kept.drop(("a",))
    assert kept.find(("a",)) is None
