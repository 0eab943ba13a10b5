"""`HostConfig`: what a container may use, and how it is confined.

Only fields that say something are sent; what is left out the Engine fills with the same
default that Compose sends in full. `OomKillDisable` alone is always there, as the Engine
treats null and false differently when it reports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.compose.model import Model, Project
from reconciler.planner.model import DesiredStack, PlanError
from reconciler.planner.mounts import binds_and_mounts
from reconciler.planner.specs import Json
from reconciler.planner.values import capabilities, nano_cpus, size, without_empty

_RESTART_CONDITIONS = {"none": "no", "any": "always"}


def restart_policy(service: Model) -> Json:
    """`{Name, MaximumRetryCount}`. A `deploy.restart_policy`, even an empty one, replaces `restart`."""
    deployed = (service.get("deploy") or {}).get("restart_policy")
    if deployed is not None:
        condition = deployed.get("condition") or ""
        return {
            "Name": _RESTART_CONDITIONS.get(condition, condition),
            "MaximumRetryCount": int(deployed.get("max_attempts") or 0),
        }
    name, _, count = (service.get("restart") or "").partition(":")
    return {"Name": name, "MaximumRetryCount": int(count) if count.isdigit() else 0}


def resource_limits(service: Model) -> Json:
    """The fields that `POST /containers/{id}/update` takes as well."""
    resources = (service.get("deploy") or {}).get("resources") or {}
    limits, reservations = resources.get("limits") or {}, resources.get("reservations") or {}
    return without_empty(
        {
            "CpuShares": int(service.get("cpu_shares") or 0),
            "CpuPeriod": int(service.get("cpu_period") or 0),
            "CpuQuota": int(service.get("cpu_quota") or 0),
            "CpuRealtimePeriod": int(service.get("cpu_rt_period") or 0),
            "CpuRealtimeRuntime": int(service.get("cpu_rt_runtime") or 0),
            "CpusetCpus": service.get("cpuset") or "",
            "NanoCpus": nano_cpus(limits.get("cpus") or service.get("cpus")),
            "Memory": size(limits.get("memory")) or size(service.get("mem_limit")),
            "MemoryReservation": size(reservations.get("memory")) or size(service.get("mem_reservation")),
            "MemorySwap": size(service.get("memswap_limit")),
            "PidsLimit": int(limits.get("pids") or 0) or int(service.get("pids_limit") or 0),
            "BlkioWeight": int((service.get("blkio_config") or {}).get("weight") or 0),
        }
    )


def is_cdi_device(name: str) -> bool:
    """Whether a device is a CDI name (`vendor.com/class=device`) and no path."""
    vendor, slash, device = name.partition("/")
    kind, equals, index = device.partition("=")
    return bool(vendor and slash and kind and equals and index) and not name.startswith("/")


def _device_request(entry: Model, extra: tuple[str, ...] = ()) -> Json:
    count, ids = entry.get("count"), entry.get("device_ids")
    if count in (None, "all"):
        count = 0 if ids else -1
    options = entry.get("options")
    return {
        "Driver": entry.get("driver") or "",
        "Count": int(count or 0),
        "DeviceIDs": list(ids) if ids else None,
        "Capabilities": [[*(entry.get("capabilities") or ()), *extra]],
        "Options": dict(options) if options else None,
    }


def _device_requests(service: Model) -> list[Json]:
    reserved = ((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    requests = [_device_request(entry) for entry in reserved.get("devices") or ()]
    requests.extend(
        {"Driver": "cdi", "DeviceIDs": [device["source"]]}
        for device in service.get("devices") or ()
        if device["source"] == device.get("target") and is_cdi_device(device["source"])
    )
    requests.extend(_device_request(entry, ("gpu",)) for entry in service.get("gpus") or ())
    return requests


def _devices(service: Model) -> list[Json]:
    return [
        {
            "PathOnHost": device["source"],
            "PathInContainer": device.get("target") or device["source"],
            # The long form has no default in Compose, and a container without one cannot start.
            "CgroupPermissions": device.get("permissions") or "rwm",
        }
        for device in service.get("devices") or ()
        if not (device["source"] == device.get("target") and is_cdi_device(device["source"]))
    ]


def _blkio(service: Model) -> Json:
    config = service.get("blkio_config") or {}

    def weights(entries: list[Model] | None) -> list[Json]:
        return [{"Path": entry["Path"], "Weight": int(entry.get("Weight") or 0)} for entry in entries or ()]

    def rates(entries: list[Model] | None) -> list[Json]:
        return [{"Path": entry["Path"], "Rate": size(entry.get("Rate"))} for entry in entries or ()]

    return {
        "BlkioWeightDevice": weights(config.get("weight_device")),
        "BlkioDeviceReadBps": rates(config.get("device_read_bps")),
        "BlkioDeviceWriteBps": rates(config.get("device_write_bps")),
        "BlkioDeviceReadIOps": rates(config.get("device_read_iops")),
        "BlkioDeviceWriteIOps": rates(config.get("device_write_iops")),
    }


def ulimits(entries: Mapping[str, Any] | None) -> list[Json]:
    """`Ulimits`, sorted by name."""
    found = []
    for name, value in sorted((entries or {}).items()):
        soft, hard = (value.get("soft") or 0, value.get("hard") or 0) if isinstance(value, Mapping) else (value, value)
        found.append({"Name": name, "Soft": int(soft), "Hard": int(hard)})
    return found


def extra_hosts(entries: list[str] | None) -> list[str]:
    """`host=ip` as the Engine wants it: `host:ip`."""
    return [entry.replace("=", ":", 1) if "=" in entry else entry for entry in entries or ()]


def _option(option: str) -> tuple[str, str]:
    """Key and value of a `security_opt`, in its present (`k=v`) or former (`k:v`) spelling."""
    separator = "=" if "=" in option else ":"
    key, _, value = option.partition(separator)
    return key, value


def seccomp_profile(option: str) -> str:
    """The file that a `security_opt` names as seccomp profile; empty: none."""
    key, value = _option(option)
    return value if key == "seccomp" and value not in ("", "unconfined", "builtin") else ""


def profile_text(desired: DesiredStack, name: str) -> str | None:
    """The text of a seccomp profile, known by its name in the file or by its path."""
    known = desired.seccomp_profiles
    return known.get(name, known.get(f"{desired.project.working_dir}/{name}"))


def _security(desired: DesiredStack, service_name: str, options: list[str] | None) -> Json:
    result, unconfined = [], False
    for option in options or ():
        profile = seccomp_profile(option)
        if _option(option) == ("systempaths", "unconfined"):
            unconfined = True
        elif profile:
            text = profile_text(desired, profile)
            if text is None:
                raise PlanError(f"services.{service_name}.security_opt: seccomp profile {profile} could not be read")
            result.append(f"seccomp={compact_json(text)}")
        else:
            result.append(option)
    return {"SecurityOpt": result, **({"MaskedPaths": [], "ReadonlyPaths": []} if unconfined else {})}


def compact_json(text: str) -> str:
    """JSON text without the white space between its tokens, otherwise as written."""
    out, inside, escaped = [], False, False
    for char in text:
        if inside:
            out.append(char)
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char not in " \t\r\n":
            out.append(char)
            inside = char == '"'
    return "".join(out)


def _namespace(value: str | None, references: Mapping[str, str], where: str) -> str:
    """`service:x` becomes `container:<id of x>`."""
    if not value or not value.startswith("service:"):
        return value or ""
    other = value.removeprefix("service:")
    if other not in references:
        raise PlanError(f"{where}: service {other} has no container to share with")
    return f"container:{references[other]}"


def volumes_from(service: Model, references: Mapping[str, str], where: str) -> list[str]:
    """`<container>[:ro]`; unlike Compose we keep the mode."""
    found = []
    for entry in service.get("volumes_from") or ():
        if entry.startswith("container:"):
            name, _, mode = entry.removeprefix("container:").partition(":")
        else:
            other, _, mode = entry.partition(":")
            if other not in references:
                raise PlanError(f"{where}.volumes_from: service {other} has no container to take volumes from")
            name = references[other]
        found.append(f"{name}:{mode}" if mode and mode != "rw" else name)
    return found


def port_bindings(service: Model) -> dict[str, list[Json]]:
    """Target port -> where on the host it is published."""
    bindings: dict[str, list[Json]] = {}
    for port in service.get("ports") or ():
        key = f"{port['target']}/{port.get('protocol') or 'tcp'}"
        bindings.setdefault(key, []).append(
            {"HostIp": port.get("host_ip") or "", "HostPort": str(port.get("published") or "")}
        )
    return bindings


def host_config(
    desired: DesiredStack,
    service_name: str,
    *,
    network_mode: str,
    references: Mapping[str, str],
    links: list[str],
    image_volumes: Mapping[str, Any],
    inherit: Mapping[str, Any] | None,
) -> Json:
    """The whole `HostConfig` of a service's container."""
    project: Project = desired.project
    service = project.services[service_name]
    where = f"services.{service_name}"
    binds, mounts = binds_and_mounts(project, service, image_volumes, inherit)
    logging = service.get("logging") or {}
    security = _security(desired, service_name, service.get("security_opt"))
    tmpfs = {}
    for entry in service.get("tmpfs") or ():
        path, _, options = entry.partition(":")
        tmpfs[path] = options
    config = without_empty(
        {
            "Annotations": service.get("annotations"),
            "Binds": binds,
            "Mounts": mounts,
            "Tmpfs": tmpfs,
            "CapAdd": capabilities(service.get("cap_add")),
            "CapDrop": capabilities(service.get("cap_drop")),
            "CgroupnsMode": service.get("cgroup"),
            "CgroupParent": service.get("cgroup_parent"),
            "CpuCount": int(service.get("cpu_count") or 0),
            "CpuPercent": int(float(service.get("cpu_percent") or 0) * 100),
            "MemorySwappiness": size(service.get("mem_swappiness")),
            "ShmSize": size(service.get("shm_size")),
            "OomScoreAdj": int(service.get("oom_score_adj") or 0),
            "DeviceRequests": _device_requests(service),
            "Devices": _devices(service),
            "DeviceCgroupRules": service.get("device_cgroup_rules"),
            "Ulimits": ulimits(service.get("ulimits")),
            "Dns": service.get("dns"),
            "DnsOptions": service.get("dns_opt"),
            "DnsSearch": service.get("dns_search"),
            "ExtraHosts": extra_hosts(service.get("extra_hosts")),
            "Links": links,
            "GroupAdd": service.get("group_add"),
            "IpcMode": _namespace(service.get("ipc"), references, f"{where}.ipc"),
            "PidMode": _namespace(service.get("pid"), references, f"{where}.pid"),
            "NetworkMode": _namespace(network_mode, references, f"{where}.network_mode"),
            "UTSMode": service.get("uts"),
            "UsernsMode": service.get("userns_mode"),
            "Isolation": service.get("isolation"),
            "Runtime": service.get("runtime"),
            "Privileged": bool(service.get("privileged")),
            "ReadonlyRootfs": bool(service.get("read_only")),
            "StorageOpt": service.get("storage_opt"),
            "Sysctls": service.get("sysctls"),
            "VolumeDriver": service.get("volume_driver"),
            "VolumesFrom": volumes_from(service, references, where),
            "PortBindings": port_bindings(service),
            **_blkio(service),
            **resource_limits(service),
        }
    )
    config.update({key: value for key, value in security.items() if value or key != "SecurityOpt"})
    if service.get("init") is not None:
        config["Init"] = bool(service["init"])
    if logging:
        config["LogConfig"] = {"Type": logging.get("driver") or "", "Config": dict(logging.get("options") or {})}
    policy = restart_policy(service)
    if policy["Name"]:
        config["RestartPolicy"] = policy
    config["OomKillDisable"] = bool(service.get("oom_kill_disable"))
    return config
