"""What the Engine will report of a container that we are about to create.

`as_inspected` does to a create body what the Engine does to it: fills empty fields from
the image's configuration and with its own defaults. `attributes` then reads the same
Compose attributes out of that and out of a real `inspect` answer, in one normal form.
Comparing the two says what differs in the words of the Compose file, whoever created the
container: that is how we adopt, explain and detect drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.planner.specs import ContainerSpec, Json
from reconciler.planner.values import is_anonymous_volume, port_key
from state.observed import EngineFacts

_OURS = ("com.docker.compose.", "io.moored.")
_DOCO = "cd.doco."
_DOCO_OF_USERS = ("cd.doco.job.", "cd.doco.deployment.recreate.")
_DOCO_WRITTEN = frozenset({"cd.doco.job.ephemeral", "cd.doco.job.last_run", "cd.doco.job.swarm.restart_replicas"})

UPDATABLE = {
    "cpu_shares": "CpuShares",
    "cpu_period": "CpuPeriod",
    "cpu_quota": "CpuQuota",
    "cpuset": "CpusetCpus",
    "cpus": "NanoCpus",
    "mem_limit": "Memory",
    "mem_reservation": "MemoryReservation",
    "pids_limit": "PidsLimit",
}
"""Attributes that `POST /containers/{id}/update` can set; it cannot take a limit away. Those
that kernels without the feature drop (swap, real time, block IO) are not here: setting them
in place could go on for ever."""


def is_tool_label(key: str) -> bool:
    """Whether a label was written by a tool and is no part of the definition."""
    if key.startswith(_OURS):
        return True
    if key.startswith(_DOCO):
        return key in _DOCO_WRITTEN or not key.startswith(_DOCO_OF_USERS)
    return False


def as_inspected(spec: ContainerSpec, image_config: Mapping[str, Any], engine: EngineFacts) -> Json:
    """The inspect answer to expect for a spec: `Config`, `HostConfig`, `NetworkSettings`."""
    body = spec.body
    config: Json = {key: value for key, value in body.items() if key not in ("HostConfig", "NetworkingConfig")}
    config["Env"] = _merged_env(body.get("Env") or [], image_config.get("Env") or [])
    entrypoint, command = body.get("Entrypoint"), body.get("Cmd")
    if entrypoint is None:
        config["Entrypoint"] = image_config.get("Entrypoint")
    if not command:
        config["Cmd"] = None if entrypoint else image_config.get("Cmd")
    for field in ("User", "WorkingDir", "StopSignal"):
        config[field] = body.get(field) or image_config.get(field) or ""
    config["ExposedPorts"] = {**(image_config.get("ExposedPorts") or {}), **(body.get("ExposedPorts") or {})}
    config["Volumes"] = image_config.get("Volumes")
    config["Labels"] = {**(image_config.get("Labels") or {}), **(body.get("Labels") or {})}
    config["Healthcheck"] = _merged_health(body.get("Healthcheck"), image_config.get("Healthcheck"))
    if "StopTimeout" not in body and image_config.get("StopTimeout") is not None:
        config["StopTimeout"] = image_config["StopTimeout"]
    host = dict(body.get("HostConfig") or {})
    networks = {**((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}), **dict(spec.connects)}
    if not engine.supports("1.43"):
        host.pop("Annotations", None)
    main = networks.get(host.get("NetworkMode") or "") or {}
    if main.get("MacAddress"):
        # Told there since API 1.44, reported here all the same.
        config["MacAddress"] = main["MacAddress"]
    return {"Name": f"/{spec.name}", "Config": config, "HostConfig": host, "NetworkSettings": {"Networks": networks}}


def _merged_env(own: list[str], image: list[str]) -> list[str]:
    keys = {entry.partition("=")[0] for entry in own}
    return [*own, *(entry for entry in image if entry.partition("=")[0] not in keys)]


def _merged_health(own: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> Json | None:
    if own is None:
        return dict(image) if image else None
    merged = dict(image or {})
    merged.update({key: value for key, value in own.items() if value})
    return merged


def attributes(
    inspect: Mapping[str, Any], engine: EngineFacts, image_config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Compose attribute -> value in normal form, for everything that only a recreation or
    an update changes. Networks are looked at elsewhere (`membership.py`).

    With the image's configuration known, what came from it is left out where the Engine
    cannot tell it from the container's own (labels, exposed ports, environment): so a moved
    image does not look like a changed definition.
    """
    config = inspect.get("Config") or {}
    host = inspect.get("HostConfig") or {}
    image = image_config or {}
    found: dict[str, Any] = {
        "image": config.get("Image") or "",
        "command": list(config.get("Cmd") or []),
        "entrypoint": list(config.get("Entrypoint") or []),
        "hostname": _hostname(inspect, config, host),
        "domainname": config.get("Domainname") or "",
        "user": config.get("User") or "",
        "working_dir": config.get("WorkingDir") or "",
        "stop_signal": config.get("StopSignal") or "",
        "stop_grace_period": config.get("StopTimeout"),
        "tty": bool(config.get("Tty")),
        "stdin_open": bool(config.get("OpenStdin")),
        "mac_address": (config.get("MacAddress") or "").lower(),
        "expose": sorted({port for key in config.get("ExposedPorts") or {} for port in port_key(key)}),
        "healthcheck": _health(config.get("Healthcheck"), image.get("Healthcheck")),
        "environment": _environment(config.get("Env") or [], image.get("Env") or []),
        "labels": _labels(config.get("Labels") or {}, image.get("Labels") or {}),
    }
    found.update(_confinement(host, engine))
    found.update(_storage(host, image.get("Volumes") or {}))
    return found


def _hostname(inspect: Mapping[str, Any], config: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    name: str = config.get("Hostname") or ""
    mode = host.get("NetworkMode") or ""
    if mode == "host" or mode.startswith("container:") or host.get("UTSMode") == "host":
        return ""
    return "" if name and (inspect.get("Id") or "").startswith(name) else name


def _port(key: str) -> str:
    return key if "/" in key else f"{key}/tcp"


def _environment(own: list[str], image: list[str]) -> dict[str, str | None]:
    from_image = set(image)
    found: dict[str, str | None] = {}
    for entry in own:
        if entry in from_image:
            continue
        key, separator, value = entry.partition("=")
        found[key] = value if separator else None
    return found


def _labels(own: Mapping[str, str], image: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in own.items() if not is_tool_label(key) and image.get(key) != value}


def _health(check: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> Json:
    found = {key: value for key, value in (check or {}).items() if value}
    if found.get("Test") == ["NONE"]:
        # Switched off, where there is something to switch off.
        return {"disable": True} if image else {}
    return {_HEALTH.get(key, key): _duration(value) if key in _TIMES else value for key, value in found.items()}


_HEALTH = {
    "Test": "test",
    "Interval": "interval",
    "Timeout": "timeout",
    "StartPeriod": "start_period",
    "StartInterval": "start_interval",
    "Retries": "retries",
}
_TIMES = frozenset({"Interval", "Timeout", "StartPeriod", "StartInterval"})


def _duration(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


def _confinement(host: Mapping[str, Any], engine: EngineFacts) -> dict[str, Any]:
    privileged = bool(host.get("Privileged"))
    memory, swap = int(host.get("Memory") or 0), int(host.get("MemorySwap") or 0)
    pids = host.get("PidsLimit") or 0
    policy = host.get("RestartPolicy") or {}
    restart = policy.get("Name") or "no"
    log = host.get("LogConfig") or {}
    found: dict[str, Any] = {
        "restart": f"{restart}:{policy['MaximumRetryCount']}" if policy.get("MaximumRetryCount") else restart,
        "privileged": privileged,
        "read_only": bool(host.get("ReadonlyRootfs")),
        "init": host.get("Init"),
        "annotations": dict(host.get("Annotations") or {}) if engine.supports("1.43") else {},
        "cap_add": _capabilities(host.get("CapAdd")),
        "cap_drop": _capabilities(host.get("CapDrop")),
        "cgroup": _cgroup_namespace(host, engine),
        "cgroup_parent": host.get("CgroupParent") or "",
        "cpu_count": int(host.get("CpuCount") or 0) if engine.os == "windows" else 0,
        "cpu_percent": int(host.get("CpuPercent") or 0) if engine.os == "windows" else 0,
        "cpu_shares": int(host.get("CpuShares") or 0),
        "cpu_period": int(host.get("CpuPeriod") or 0),
        "cpu_quota": int(host.get("CpuQuota") or 0),
        "cpu_rt_period": int(host.get("CpuRealtimePeriod") or 0),
        "cpu_rt_runtime": int(host.get("CpuRealtimeRuntime") or 0),
        "cpuset": host.get("CpusetCpus") or "",
        "cpus": int(host.get("NanoCpus") or 0),
        "mem_limit": memory,
        "mem_reservation": int(host.get("MemoryReservation") or 0),
        # An Engine without swap accounting answers -1, an unset limit is twice the memory.
        "memswap_limit": 0 if swap in (0, 2 * memory) or (swap == -1 and not memory) else swap,
        "mem_swappiness": _swappiness(host.get("MemorySwappiness")),
        "oom_kill_disable": bool(host.get("OomKillDisable")),
        "oom_score_adj": int(host.get("OomScoreAdj") or 0),
        "pids_limit": pids if pids > 0 else 0,
        "shm_size": int(host.get("ShmSize") or 67108864),
        "blkio_config.weight": int(host.get("BlkioWeight") or 0),
        "device_cgroup_rules": list(host.get("DeviceCgroupRules") or []),
        "devices": sorted(
            f"{d.get('PathOnHost')}:{d.get('PathInContainer')}:{d.get('CgroupPermissions')}"
            for d in host.get("Devices") or []
        ),
        "gpus": [_without_nothing(request) for request in host.get("DeviceRequests") or []],
        "dns": list(host.get("Dns") or []),
        "dns_opt": list(host.get("DnsOptions") or []),
        "dns_search": list(host.get("DnsSearch") or []),
        "extra_hosts": sorted(host.get("ExtraHosts") or []),
        "group_add": list(host.get("GroupAdd") or []),
        # What Engines give unless their own configuration says otherwise, which they do not tell.
        "ipc": host.get("IpcMode") or "private",
        "pid": host.get("PidMode") or "",
        "uts": host.get("UTSMode") or "",
        "userns_mode": host.get("UsernsMode") or "",
        "isolation": "" if host.get("Isolation") == "default" else host.get("Isolation") or "",
        "runtime": host.get("Runtime") or engine.default_runtime,
        "logging": {"driver": log.get("Type") or engine.logging_driver, "options": dict(log.get("Config") or {})},
        "security_opt": _security(host, privileged),
        "storage_opt": dict(host.get("StorageOpt") or {}),
        "sysctls": dict(host.get("Sysctls") or {}),
        "ulimits": {u["Name"]: (u.get("Soft"), u.get("Hard")) for u in host.get("Ulimits") or []},
        "ports": {
            _port(key): sorted((b.get("HostIp") or "", b.get("HostPort") or "") for b in bindings or [])
            for key, bindings in (host.get("PortBindings") or {}).items()
        },
    }
    for attribute, field in (
        ("device_read_bps", "BlkioDeviceReadBps"),
        ("device_write_bps", "BlkioDeviceWriteBps"),
        ("device_read_iops", "BlkioDeviceReadIOps"),
        ("device_write_iops", "BlkioDeviceWriteIOps"),
    ):
        found[f"blkio_config.{attribute}"] = sorted((d["Path"], d["Rate"]) for d in host.get(field) or [])
    return found


def _capabilities(names: list[str] | None) -> list[str]:
    """`ALL` says it all, whatever else is named beside it."""
    return ["ALL"] if "ALL" in (names or ()) else sorted(names or ())


def _swappiness(value: Any) -> int | None:
    return None if value in (None, -1, 0) else int(value)


def _cgroup_namespace(host: Mapping[str, Any], engine: EngineFacts) -> str:
    mode: str = host.get("CgroupnsMode") or ""
    privileged_default = "host" if host.get("Privileged") or engine.cgroup_version == "1" else "private"
    return mode or privileged_default


def _security(host: Mapping[str, Any], privileged: bool) -> list[str]:
    options = {
        option.replace(":", "=", 1) if ":" in option.partition("=")[0] else option
        for option in host.get("SecurityOpt") or []
    }
    if privileged or host.get("PidMode") == "host" or host.get("IpcMode") == "host":
        options.discard("label=disable")
    # The Engine reports its default lists where none was given, and nothing if privileged.
    if not privileged and host.get("MaskedPaths") == [] and host.get("ReadonlyPaths") == []:
        options.add("systempaths=unconfined")
    return sorted(options)


def _without_nothing(request: Mapping[str, Any]) -> Json:
    return {key: value for key, value in request.items() if value}


def _storage(host: Mapping[str, Any], image_volumes: Mapping[str, Any]) -> dict[str, Any]:
    """Volumes by target, so that one moved between `Binds` and `Mounts` is the same.

    An anonymous volume where the image declares one is no difference: it was carried on.
    """
    volumes: dict[str, str] = {}
    for bind in host.get("Binds") or []:
        source, target, mode = _split_bind(bind)
        flags = set(mode.split(",")) - {"rw", ""}
        volumes[target] = _volume_text(source, flags)
    for mount in host.get("Mounts") or []:
        flags = {"ro"} if mount.get("ReadOnly") else set()
        source = mount.get("Source") or ""
        if mount.get("Type") == "volume" and (not source or is_anonymous_volume(source)):
            source = ""
            if mount.get("Target") in image_volumes:
                continue
        if mount.get("Type") not in ("bind", "volume"):
            source = f"{mount.get('Type')}:{source}"
        options = mount.get("BindOptions") or {}
        if options.get("Propagation") not in (None, "", "rprivate"):
            flags.add(options["Propagation"])
        if options.get("NonRecursive"):
            flags.add("recursive=disabled")
        if options.get("ReadOnlyNonRecursive"):
            flags.add("recursive=writable")
        if options.get("ReadOnlyForceRecursive"):
            flags.add("recursive=readonly")
        options = mount.get("VolumeOptions") or {}
        if options.get("NoCopy"):
            flags.add("nocopy")
        if options.get("Subpath"):
            flags.add(f"subpath={options['Subpath']}")
        for key, value in sorted((options.get("Labels") or {}).items()):
            flags.add(f"label={key}={value}")
        options = mount.get("TmpfsOptions") or {}
        flags.update(f"{key.lower()}={value}" for key, value in options.items() if value)
        options = mount.get("ImageOptions") or {}
        if options.get("Subpath"):
            flags.add(f"subpath={options['Subpath']}")
        volumes[mount.get("Target") or ""] = _volume_text(source, flags)
    return {
        "volumes": volumes,
        "tmpfs": dict(host.get("Tmpfs") or {}),
        "volumes_from": list(host.get("VolumesFrom") or []),
        "volume_driver": host.get("VolumeDriver") or "",
    }


def _split_bind(bind: str) -> tuple[str, str, str]:
    source, _, rest = bind.partition(":")
    target, _, mode = rest.partition(":")
    return source, target, mode


def _volume_text(source: str, flags: set[str]) -> str:
    text = source or "(anonymous)"
    return f"{text} ({', '.join(sorted(flags))})" if flags else text
