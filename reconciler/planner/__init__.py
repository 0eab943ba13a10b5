"""The pure core: what is desired and what is observed in, a plan out; no I/O.

Deciding (each raises nothing but `PlanError`, and that before anything is touched):

    plan(desired, observed, *, now=None) -> Plan
    plan_down(key, observed, *, project, volumes, images, orphans=True, timeout=None) -> Plan
    plan_start(key, observed, *, timeout=None) -> Plan
    plan_stop(key, observed, *, timeout=None) -> Plan
    plan_restart(key, observed, *, timeout=None) -> Plan
    readiness(desired, observed, *, now=None, restarts_before=None) -> Readiness
    service_readiness(desired, observed, service, ...) -> Readiness

A plan with `partial` set holds pulls and builds only: carry it out, observe again, and plan
again with `after_partial(desired)`. Images that must be observed: `image_references(project)`.

Mapping, called by the executor at the moment it acts:

    container_spec(desired, service, number, *, name=None, engine, references={}, peers={},
                   images={}, inherit=None) -> ContainerSpec      (images = ObservedProject.images)
    file_content(desired, item: InjectedFile) -> bytes
    hook_specs(desired, service, *, container_id, engine, references={}, peers={}) -> tuple[HookSpec, ...]
    post_start(desired, service) -> tuple[ExecSpec, ...];  pre_stop(desired, service) -> tuple[ExecSpec, ...]
    network_body(project, key, engine) -> Json;  volume_body(desired, key) -> Json
    build_request(desired, service) -> BuildRequest

Showing: `describe(plan) -> str`, `as_json(plan) -> Json`.

What `Action.params` hold (JSON; `container` is always a full id, absent for a container that
an earlier action of the plan creates: then `Action.target`, its final name, identifies it):

    pull-image         target = reference; platform, if_changed (ask the registry for the
                       digest first, pull only if another), optional
    build-image        target = reference; the request is build_request(desired, service)
    create-network     network = key;  remove-network   network_id
    create-volume      volume = key;   remove-volume    (target = name), optional
    create-container   number, references {service: container name}, peers
    replace-container  container = the old one, number, temporary_name, references, peers,
                       inherit (keep anonymous volumes), pre_stop, timeout, order?, acknowledge
    hand-over          container = the old one, pre_stop, timeout, ready_timeout
    update-container   container, update = body of POST /containers/{id}/update, acknowledge?
    rename-container   container
    connect-network    container, network (name), endpoint;  disconnect-network  container, network, force
    start-container    container?, post_start, inject (true: all), acknowledge?
    stop-container     container, timeout, pre_stop, acknowledge
    restart-container  container, timeout, pre_stop, post_start
    unpause-container  container
    signal-container   container, signal, inject = content keys to copy in again first, acknowledge
    remove-container   container, volumes (its anonymous ones too)
    remove-image       (target = id or reference), optional, reference
    run-hook           index, number, container?, references, peers; target = the service container
                       that lends its volumes
    wait-service       target = service; condition, containers = names, timeout, optional

`references` name the containers whose ids `service:` namespaces and `volumes_from` need: the
executor turns names into ids before it calls `container_spec`. `peers` are the containers of
linked services as `{service: [[name, number], ...]}`, to be handed on as they are.
"""

from __future__ import annotations

from reconciler.planner.builds import build_request
from reconciler.planner.containers import COMPOSE_VERSION, container_spec
from reconciler.planner.down import plan_down, plan_restart, plan_start, plan_stop
from reconciler.planner.graph import container_name, wanted_replicas
from reconciler.planner.hooks import hook_specs, post_start, pre_stop
from reconciler.planner.images import image_references
from reconciler.planner.model import (
    Action,
    ActionKind,
    Blocked,
    DesiredStack,
    DriftPolicy,
    Plan,
    PlanError,
    Policy,
)
from reconciler.planner.mounts import file_content
from reconciler.planner.objects import network_body, volume_body
from reconciler.planner.plan import after_partial, plan
from reconciler.planner.readiness import Readiness, ReadyState, readiness, service_readiness
from reconciler.planner.show import action_text, as_json, describe
from reconciler.planner.specs import BuildRequest, ContainerSpec, ExecSpec, HookSpec, InjectedFile

__all__ = [
    "COMPOSE_VERSION",
    "Action",
    "ActionKind",
    "Blocked",
    "BuildRequest",
    "ContainerSpec",
    "DesiredStack",
    "DriftPolicy",
    "ExecSpec",
    "HookSpec",
    "InjectedFile",
    "Plan",
    "PlanError",
    "Policy",
    "Readiness",
    "ReadyState",
    "action_text",
    "after_partial",
    "as_json",
    "build_request",
    "container_name",
    "container_spec",
    "describe",
    "file_content",
    "hook_specs",
    "image_references",
    "network_body",
    "plan",
    "plan_down",
    "plan_restart",
    "plan_start",
    "plan_stop",
    "post_start",
    "pre_stop",
    "readiness",
    "service_readiness",
    "volume_body",
    "wanted_replicas",
]
