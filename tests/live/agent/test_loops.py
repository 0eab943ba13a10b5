"""What could turn in circles does not: crash loops, fights, one-shots."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

from tests.live.agent.conftest import World
from tests.support.docker_api import EngineError
from tests.support.repository import service

ONCE = {"restart": '"no"', "init": "true"}


def test_a_crash_loop_fails_the_run_and_costs_nothing_afterwards(place: World) -> None:
    loop = service("web", command="""["sh", "-c", "echo no luck; exit 7"]""", restart="always")
    answer = place.deploy(loop, service("db"))
    assert answer.status == 500, answer
    assert "web" in answer.content
    assert "7" in answer.content
    assert "no luck" in answer.content
    degraded = place.condition("Degraded")
    assert degraded["status"] is True, degraded
    assert degraded["reason"] == "CrashLoop"
    assert "db-1" in place.running()

    writes, logged = place.writes(), len(place.agent.logs())
    time.sleep(6)
    assert place.writes() == writes, "the Engine restarts it; nobody else has to"
    storm = Counter(
        line["msg"]
        for line in place.agent.logs()[logged:]
        if line["level"] != "debug" and line.get("stack") == place.project
    )
    assert all(count <= 1 for count in storm.values()), storm
    assert place.condition("Ready")["status"] is False, "not even in the moments in which it runs"
    assert place.deploy(service("web", restart="always"), service("db")).status == 200
    assert place.condition("Ready")["status"] is True
    assert place.condition("Degraded") == {}


def test_ordinary_repairs_stay_quick(place: World) -> None:
    place.deploy(service("web"))
    container = place.ids()["web-1"]
    for _ in range(3):
        place.engine.call("POST", f"/containers/{container}/kill")
        place.agent.until(lambda: place.running() == {"web-1"}, 8, "it runs again at once", soon=True)
        time.sleep(1)
    assert place.condition("Degraded") == {}


def test_a_fight_is_said_once_and_slows_down_and_heals_when_the_other_side_rests(place: World) -> None:
    place.deploy(service("web"))
    container = place.ids()["web-1"]
    over = threading.Event()

    def fight() -> None:
        while not over.is_set():
            with contextlib.suppress(EngineError):  # it is stopped already
                place.engine.call("POST", f"/containers/{container}/stop", {"t": 0})
            over.wait(0.1)

    writes = place.writes()
    opponent = threading.Thread(target=fight)
    opponent.start()
    try:
        place.agent.until(lambda: place.condition("Degraded").get("reason") == "Fighting", 15, "the fight is noticed")
        assert "web-1" in place.condition("Degraded")["message"]
        time.sleep(5)
    finally:
        over.set()
        opponent.join()
    assert place.writes() - writes <= 8, "three at once, then ever more slowly"
    said = [line for line in place.agent.logs() if line.get("stack") == place.project and line["level"] == "warning"]
    assert [line["msg"] for line in said].count("stack is fought over") == 1, said
    assert len(said) <= 4, said
    place.agent.until(lambda: place.running() == {"web-1"}, 30, "healed when the other side rests")
    assert place.condition("Degraded")["reason"] == "Fighting", "until it has been quiet for a while"
    assert place.agent.poll(place.repository.url).status == 200


def test_a_one_shot_runs_once_whatever_polls_come(place: World) -> None:
    """It writes a line into a volume each time it runs; and again only when its definition changes."""
    command = """["sh", "-c", "echo ran >> /data/runs"]"""
    more = "volumes: {data: {}}\n"
    once = service("init", command=command, volumes="['data:/data']", **ONCE)
    web = service("web", volumes="['data:/data']", depends_on="{init: {condition: service_completed_successfully}}")

    def runs() -> int:
        made = place.engine.call("POST", f"/containers/{place.ids()['web-1']}/exec", body=reading)
        output = place.engine.call("POST", f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": True})
        return int(output.count(b"ran"))

    reading = {"AttachStdout": True, "Tty": True, "Cmd": ["cat", "/data/runs"]}
    assert place.deploy(once, web, more=more).status == 200
    assert runs() == 1
    assert place.condition("Ready")["status"] is True
    writes = place.writes()
    for number in range(3):
        place.repository.commit({"README.md": str(number)})
        assert place.agent.poll(place.repository.url).status == 200
    assert place.deploy(once, web, service("third"), more=more).status == 200
    assert runs() == 1
    changed = service("init", command=command, volumes="['data:/data']", environment="{N: '2'}", **ONCE)
    assert place.deploy(changed, web, service("third"), more=more).status == 200
    assert runs() == 2
    assert place.writes() > writes
    place.assert_rests()


def test_a_failing_one_shot_fails_the_run_with_its_words_and_is_not_repeated_by_itself(place: World) -> None:
    answer = place.deploy(service("init", command="""["sh", "-c", "echo bad luck; exit 4"]""", **ONCE), service("web"))
    assert answer.status == 500, answer
    assert "init" in answer.content
    assert "code 4" in answer.content
    assert "bad luck" in answer.content
    assert place.running() == {"web-1"}
    started, writes = place.started(), place.writes()
    time.sleep(4)
    assert (place.started(), place.writes()) == (started, writes)
    assert place.condition("Ready")["status"] is False
