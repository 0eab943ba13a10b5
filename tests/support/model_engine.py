"""An Engine in memory that carries plans out: enough of Docker to see whether plans converge.

It keeps containers as `inspect` answers, gives out ids and times, refuses what the real one
refuses (a name or network in use, a missing network), and can stop at any single step of an
action, as a crash would. Programs are played by `behaviour`: what becomes of a service's
container when it is started.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.engine.records import container_record, network_record, volume_record
from reconciler.planner import container_spec, hook_specs, network_body, volume_body
from reconciler.planner.graph import image_reference, joined_containers
from reconciler.planner.images import image_references
from reconciler.planner.inspected import as_inspected
from reconciler.planner.lifecycle import STOPPED
from reconciler.planner.model import Action, ActionKind, DesiredStack, Plan
from reconciler.planner.specs import ContainerSpec
from reconciler.planner.startfirst import START_FIRST
from state.observed import EngineFacts, ObservedImage, ObservedProject

START = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
RUNS, HEALTHY, UNHEALTHY, DONE, FAILS = "runs", "healthy", "unhealthy", "done", "fails"


class EngineRefused(Exception):
    """The Engine answers with an error."""


@dataclass
class ModelEngine:
    """The Engine. `images` is what is here, `registry` what a pull would bring."""

    facts: EngineFacts
    images: dict[str, ObservedImage] = field(default_factory=dict)
    registry: dict[str, ObservedImage] = field(default_factory=dict)
    behaviour: Mapping[str, str] = field(default_factory=dict)
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    """As the agent notes it: stops before they are carried out, everything else afterwards."""
    stop_code: int = 137
    """How programs end that are stopped: many end with 0 when asked to."""
    log: list[str] = field(default_factory=list)
    """Every step, as `verb:name`."""
    successors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Final name -> the container that is started before it takes that name, in this plan."""
    parked: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """Final name -> (replaced container, its successor), until the latter is started in this plan."""
    begun: set[str] = field(default_factory=set)
    """Names of the containers that this plan starts."""
    _ids: int = 0
    _ticks: int = 0

    # What is seen

    def observe(self, desired: DesiredStack) -> ObservedProject:
        project = desired.project
        ours = [c for c in self.containers.values() if _label(c, "project") == project.name]
        references = {*image_references(project), *(c["Config"]["Image"] for c in ours)}
        names = {container["Name"].lstrip("/"): container["Id"] for container in self.containers.values()}
        foreign = {n: i for n, i in names.items() if _label(self.containers[i], "project") != project.name}
        return ObservedProject(
            engine=self.facts,
            containers=tuple(sorted((container_record(c) for c in ours), key=lambda c: c.name)),
            networks=tuple(network_record(network) for network in self.networks.values()),
            volumes=tuple(volume_record(volume) for volume in self.volumes.values()),
            images={reference: self.images.get(reference) for reference in references},
            foreign_names=foreign,
            named={
                name: container_record(self.containers[container_id])
                for name, container_id in names.items()
                if name in joined_containers(project)
            },
        )

    def named(self, name: str) -> dict[str, Any]:
        for container in self.containers.values():
            if container["Name"] == f"/{name}":
                return container
        raise EngineRefused(f"no such container: {name}")

    def states(self) -> dict[str, str]:
        """Container name -> state."""
        return {c["Name"].lstrip("/"): c["State"]["Status"] for c in self.containers.values()}

    # What is done

    def apply(
        self, plan: Plan, desired: DesiredStack, *, rng: random.Random | None = None, steps: int | None = None
    ) -> bool:
        """Carry a plan out, in any order its needs allow. With `steps`, crash after that many
        single steps. Whether everything was done."""
        waiting = {action.id: action for action in plan.actions}
        before = {container: dict(told) for container, told in self.acknowledged.items()}
        for action in plan.actions:
            if STOPPED in action.params.get("acknowledge", {}):
                self._acknowledge(action)
        self.successors, self.parked = {}, {}
        self.begun = {action.target for action in plan.actions if action.kind is ActionKind.START_CONTAINER}
        ended: set[str] = set()
        broken: set[str] = set()
        left = steps if steps is not None else 1_000_000
        while waiting:
            ready = sorted(a for a, action in waiting.items() if action.needs <= ended | broken)
            assert ready, f"needs that never end: {waiting}"
            chosen = rng.choice(ready) if rng else ready[0]
            action = waiting.pop(chosen)
            lost = action.needs & broken
            if lost and not action.params.get("optional"):
                broken.add(chosen)
                self._put_back(action)
                continue
            try:
                for _ in () if lost else self._carry_out(action, desired):
                    left -= 1
                    if left <= 0:
                        return False
                ended.add(chosen)
                self._acknowledge(action)
            except EngineRefused:
                if action.params.get("optional"):
                    ended.add(chosen)
                else:
                    broken.add(chosen)
                    self._put_back(action)
        for action in plan.actions:
            if action.id in broken and STOPPED in action.params.get("acknowledge", {}):
                container = action.params["container"]
                self.acknowledged[container] = before.get(container, {})
        return not broken

    def _acknowledge(self, action: Action) -> None:
        told = action.params.get("acknowledge")
        if told:
            self.acknowledged.setdefault(action.params["container"], {}).update(told)

    def _carry_out(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        steps: dict[ActionKind, Callable[[Action, DesiredStack], Iterator[None]]] = {
            ActionKind.PULL_IMAGE: self._pull,
            ActionKind.BUILD_IMAGE: self._build,
            ActionKind.CREATE_NETWORK: self._create_network,
            ActionKind.REMOVE_NETWORK: self._remove_network,
            ActionKind.CREATE_VOLUME: self._create_volume,
            ActionKind.REMOVE_VOLUME: self._remove_volume,
            ActionKind.CREATE_CONTAINER: self._create_container,
            ActionKind.REPLACE_CONTAINER: self._replace_container,
            ActionKind.HAND_OVER: self._hand_over,
            ActionKind.RUN_HOOK: self._run_hook,
            ActionKind.WAIT_SERVICE: self._wait,
        }
        simple = steps.get(action.kind)
        yield from simple(action, desired) if simple else self._on_container(action)

    def _tick(self) -> str:
        self._ticks += 1
        return (START + timedelta(seconds=self._ticks)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _new_id(self, what: str) -> str:
        self._ids += 1
        return hashlib.sha256(f"{self._ids} {what}".encode()).hexdigest()

    def _pull(self, action: Action, _: DesiredStack) -> Iterator[None]:
        if action.target not in self.registry:
            raise EngineRefused(f"pull access denied for {action.target}")
        self.images[action.target] = self.registry[action.target]
        self.log.append(f"pull:{action.target}")
        yield

    def _build(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        from reconciler.planner import build_request

        request = build_request(desired, action.service)
        self.images[action.target] = ObservedImage(
            id=f"sha256:{self._new_id(action.target)}", tags=(action.target,), digests=(), labels=dict(request.labels)
        )
        self.log.append(f"build:{action.target}")
        yield

    def _create_network(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        body = network_body(desired.project, action.params["network"], self.facts)
        if any(network["Name"] == body["Name"] for network in self.networks.values()):
            raise EngineRefused(f"network {body['Name']} exists")
        network_id = self._new_id(body["Name"])
        self.networks[network_id] = {
            "Id": network_id,
            "Name": body["Name"],
            "Driver": body["Driver"],
            "Options": body["Options"],
            "Internal": body["Internal"],
            "Attachable": body["Attachable"],
            "EnableIPv6": body.get("EnableIPv6", False),
            "IPAM": body.get("IPAM") or {"Driver": "default", "Config": [{"Subnet": "172.20.0.0/16"}]},
            "Labels": body["Labels"],
        }
        self.log.append(f"create-network:{body['Name']}")
        yield

    def _remove_network(self, action: Action, _: DesiredStack) -> Iterator[None]:
        network_id = action.params["network_id"]
        users = [
            c["Name"]
            for c in self.containers.values()
            if c["State"]["Status"] in ("running", "paused")
            and any(e.get("NetworkID") == network_id for e in c["NetworkSettings"]["Networks"].values())
        ]
        if users:
            raise EngineRefused(f"network has active endpoints: {users}")
        self.networks.pop(network_id, None)
        self.log.append(f"remove-network:{action.target}")
        yield

    def _create_volume(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        body = volume_body(desired, action.params["volume"])
        self.volumes.setdefault(
            body["Name"],
            {
                "Name": body["Name"],
                "Driver": body.get("Driver", "local"),
                "Options": body.get("DriverOpts"),
                "Labels": body["Labels"],
            },
        )
        self.log.append(f"create-volume:{body['Name']}")
        yield

    def _remove_volume(self, action: Action, _: DesiredStack) -> Iterator[None]:
        for container in self.containers.values():
            if any(mount.get("Name") == action.target for mount in container["Mounts"]):
                raise EngineRefused(f"volume is in use by {container['Name']}")
        self.volumes.pop(action.target, None)
        self.log.append(f"remove-volume:{action.target}")
        yield

    def _ids_of(self, action: Action) -> dict[str, str]:
        return {service: self.named(name)["Id"] for service, name in action.params.get("references", {}).items()}

    def _create(self, spec: ContainerSpec, desired: DesiredStack, service: str) -> dict[str, Any]:
        if any(container["Name"] == f"/{spec.name}" for container in self.containers.values()):
            raise EngineRefused(f"name {spec.name} is in use")
        image = self.images.get(image_reference(desired.project, service))
        if image is None:
            raise EngineRefused(f"no such image: {spec.body['Image']}")
        inspect = as_inspected(spec, {**image.config, "Labels": image.labels}, self.facts)
        names = {network["Name"]: network["Id"] for network in self.networks.values()}
        for name, endpoint in inspect["NetworkSettings"]["Networks"].items():
            if name not in names:
                raise EngineRefused(f"network {name} not found")
            inspect["NetworkSettings"]["Networks"][name] = {**endpoint, "NetworkID": names[name]}
        mode = inspect["HostConfig"].get("NetworkMode", "")
        shared = mode.partition("container:")[2]
        if shared and shared not in self.containers:
            inspect["HostConfig"]["NetworkMode"] = f"container:{self.named(shared)['Id']}"
        container_id = self._new_id(spec.name)
        inspect.update(
            {
                "Id": container_id,
                "Image": image.id,
                "Created": self._tick(),
                "State": {"Status": "created", "ExitCode": 0},
                "RestartCount": 0,
                "Mounts": self._mounts(spec, image, container_id),
            }
        )
        self.containers[container_id] = inspect
        return inspect

    def _mounts(self, spec: ContainerSpec, image: ObservedImage, container_id: str) -> list[dict[str, Any]]:
        host = spec.body["HostConfig"]
        mounts: list[dict[str, Any]] = []
        for bind in host.get("Binds", ()):
            source, target, _ = bind.split(":")
            kind = "bind" if source.startswith("/") else "volume"
            name: dict[str, Any] = {} if kind == "bind" else {"Name": source}
            mounts.append({"Type": kind, "Source": source, "Destination": target, "RW": True, **name})
        for mount in host.get("Mounts", ()):
            origin = mount.get("Source") or self._new_id(f"{container_id}{mount['Target']}")
            entry = {"Type": mount["Type"], "Source": origin, "Destination": mount["Target"], "RW": True}
            mounts.append({**entry, "Name": origin} if mount["Type"] == "volume" else entry)
        for lender in host.get("VolumesFrom", ()):
            name = lender.partition(":")[0]
            mounts.extend(dict(mount) for mount in (self.containers.get(name) or self.named(name))["Mounts"])
        taken = {mount["Destination"] for mount in mounts}
        for target in image.config.get("Volumes") or {}:
            if target not in taken:
                made = self._new_id(f"{container_id}{target}")
                mounts.append({"Type": "volume", "Name": made, "Source": made, "Destination": target, "RW": True})
        return mounts

    def _create_container(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        spec = container_spec(
            desired,
            action.service,
            action.params["number"],
            engine=self.facts,
            references=self._ids_of(action),
            peers={s: [(n, i) for n, i in pairs] for s, pairs in action.params["peers"].items()},
            images=self.images,
        )
        self._create(spec, desired, action.service)
        self.log.append(f"create:{action.target}")
        yield

    def _replace_container(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        old = self.containers[action.params["container"]]
        spec = container_spec(
            desired,
            action.service,
            action.params["number"],
            name=action.params["temporary_name"],
            engine=self.facts,
            references=self._ids_of(action),
            peers={s: [(n, i) for n, i in pairs] for s, pairs in action.params["peers"].items()},
            images=self.images,
            inherit=old,
        )
        new = self._create(spec, desired, action.service)
        yield
        if action.params.get("order") == START_FIRST:
            self.successors[action.target] = new
            self.log.append(f"replace:{action.target}")
            return
        yield from self._take_over(old, new, action.target)
        self.log.append(f"replace:{action.target}")
        if action.target in self.begun:
            self.parked[action.target] = (old, new)
        else:
            del self.containers[old["Id"]]
        yield

    def _hand_over(self, action: Action, _: DesiredStack) -> Iterator[None]:
        new = self.successors[action.target]
        state = new["State"]
        serves = state["Status"] == "running" and state.get("Health", {}).get("Status", "healthy") == "healthy"
        if not serves and (state["Status"], state["ExitCode"]) != ("exited", 0):
            del self.containers[new["Id"]]
            raise EngineRefused(f"the successor of {action.target} does not serve")
        old = self.containers[action.params["container"]]
        yield from self._take_over(old, new, action.target)
        del self.containers[old["Id"]]
        self.log.append(f"hand-over:{action.target}")
        yield

    def _take_over(self, old: dict[str, Any], new: dict[str, Any], name: str) -> Iterator[None]:
        """As the executor does: stop, park, take the name."""
        self._stop(old)
        yield
        self._rename(old, f"{name}.replaced-by-{new['Id'][:12]}")
        yield
        self._rename(new, name)
        yield

    def _put_back(self, action: Action) -> None:
        if action.kind is ActionKind.START_CONTAINER and action.target in self.parked:
            old, new = self.parked.pop(action.target)
            del self.containers[new["Id"]]
            self._rename(old, action.target)
            self.start(old)

    def _rename(self, container: dict[str, Any], name: str) -> None:
        if any(c["Name"] == f"/{name}" for c in self.containers.values() if c is not container):
            raise EngineRefused(f"name {name} is in use")
        container["Name"] = f"/{name}"

    def _stop(self, container: dict[str, Any]) -> None:
        if container["State"]["Status"] in ("running", "paused", "restarting"):
            container["State"] = {
                **container["State"],
                "Status": "exited",
                "ExitCode": self.stop_code,
                "FinishedAt": self._tick(),
                "Health": {},
            }

    def start(self, container: dict[str, Any]) -> None:
        """Start a container; it then does what its variable BEHAVIOUR says, or its service's behaviour."""
        host = container["HostConfig"]
        names = {network["Name"]: network["Id"] for network in self.networks.values()}
        for name, endpoint in container["NetworkSettings"]["Networks"].items():
            if names.get(name) != endpoint.get("NetworkID"):
                raise EngineRefused(f"network {endpoint.get('NetworkID')} not found")
        shared = host.get("NetworkMode", "").partition("container:")[2]
        if shared and self.containers.get(shared, {}).get("State", {}).get("Status") != "running":
            raise EngineRefused(f"cannot join network of a container that does not run: {shared}")
        own = next((entry[10:] for entry in container["Config"].get("Env") or () if entry.startswith("BEHAVIOUR=")), "")
        behaviour = own or self.behaviour.get(_label(container, "service"), RUNS)
        state: dict[str, Any] = {"Status": "running", "ExitCode": 0, "StartedAt": self._tick()}
        if behaviour in (HEALTHY, UNHEALTHY):
            state["Health"] = {"Status": behaviour}
        if behaviour in (DONE, FAILS):
            state.update({"Status": "exited", "ExitCode": 0 if behaviour == DONE else 1, "FinishedAt": self._tick()})
        container["State"] = state
        container["HasRun"] = True

    def stop_by_hand(self, name: str) -> None:
        self._stop(self.named(name))

    def _run_hook(self, action: Action, desired: DesiredStack) -> Iterator[None]:
        lender = self.named(action.target)
        specs = hook_specs(
            desired, action.service, container_id=lender["Id"], engine=self.facts, references=self._ids_of(action)
        )
        assert specs[action.params["index"]].body["HostConfig"]["VolumesFrom"] == [lender["Id"]]
        self.log.append(f"hook:{action.service}.{action.params['index']}")
        yield

    def _wait(self, action: Action, _: DesiredStack) -> Iterator[None]:
        condition = action.params["condition"]
        for name in action.params["containers"]:
            state = self.named(name)["State"]
            health = (state.get("Health") or {}).get("Status")
            fine = {
                "service_started": state["Status"] == "running",
                "service_healthy": state["Status"] == "running" and health == "healthy",
                "service_completed_successfully": state["Status"] == "exited" and state["ExitCode"] == 0,
            }[condition]
            if not fine:
                raise EngineRefused(f"{name} is not {condition}: {state}")
        self.log.append(f"wait:{action.target}:{condition}")
        yield

    def _on_container(self, action: Action) -> Iterator[None]:
        kind, params = action.kind, action.params
        if kind is ActionKind.REMOVE_IMAGE:
            if any(container["Image"] == action.target for container in self.containers.values()):
                raise EngineRefused("image is in use")
            self.log.append(f"remove-image:{action.target}")
            yield
            return
        given = params.get("container")
        container = self.containers.get(given) if given else self.successors.get(action.target)
        container = container if given or container else self.named(action.target)
        if container is None:
            raise EngineRefused(f"no such container: {given}")
        networks = container["NetworkSettings"]["Networks"]
        match kind:
            case ActionKind.START_CONTAINER:
                self.start(container)
                if action.target in self.parked:
                    yield
                    old, _ = self.parked.pop(action.target)
                    del self.containers[old["Id"]]
            case ActionKind.STOP_CONTAINER:
                self._stop(container)
            case ActionKind.RESTART_CONTAINER:
                self._stop(container)
                yield
                self.start(container)
            case ActionKind.UNPAUSE_CONTAINER:
                container["State"]["Status"] = "running"
            case ActionKind.RENAME_CONTAINER:
                self._rename(container, action.target)
            case ActionKind.REMOVE_CONTAINER:
                del self.containers[container["Id"]]
            case ActionKind.UPDATE_CONTAINER:
                container["HostConfig"].update(params["update"])
            case ActionKind.CONNECT_NETWORK:
                ids = {network["Name"]: network["Id"] for network in self.networks.values()}
                networks[params["network"]] = {**params["endpoint"], "NetworkID": ids[params["network"]]}
            case ActionKind.DISCONNECT_NETWORK:
                networks.pop(params["network"], None)
            case ActionKind.SIGNAL_CONTAINER:
                assert container["State"]["Status"] == "running"
            case _:
                raise AssertionError(kind)
        self.log.append(f"{str(kind).partition('-')[0]}:{action.target}")
        yield


def _label(container: Mapping[str, Any], name: str) -> str:
    labels: Mapping[str, str] = container["Config"]["Labels"]
    return labels.get(f"com.docker.compose.{name}", "")
