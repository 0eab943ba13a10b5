"""What is removed while the agent still looks whether its work holds comes back at once."""

from __future__ import annotations

from tests.live.agent.conftest import World
from tests.support.repository import service


def test_a_container_removed_while_health_is_awaited_comes_back(place: World) -> None:
    place.deploy(service("web"))
    for _ in range(2):
        gone = place.ids()["web-1"]
        place.engine.call("DELETE", f"/containers/{gone}", {"force": 1})

        def another(gone: str = gone) -> bool:
            return place.running() == {"web-1"} and place.ids()["web-1"] != gone

        # The second one goes before the first repair counts as proven.
        place.agent.until(another, 10, "a new container runs", soon=True)
