"""Every attribute of Compose, in order, with how it is read.

The order within each structure is that of Compose's own, because the config hash is taken over
it. See `decode` for what the decoders do.
"""

from __future__ import annotations

from .decode import (
    Always,
    Bind,
    ListOf,
    MapOf,
    Object,
    Printed,
    any_texts,
    boolean,
    boolean_or_unset,
    command,
    create_host_path,
    device_count,
    duration,
    duration_or_unset,
    environment,
    extra_hosts,
    file_mode,
    health_test,
    integer,
    integer_or_unset,
    labels,
    multi_options,
    number32,
    options,
    size,
    size_or_zero,
    ssh_keys,
    text,
    text_map,
    texts,
    ulimit,
    unsigned,
    unsigned_or_unset,
)

HOOK = Object(
    command=command,
    image=text,
    user=text,
    privileged=boolean,
    working_dir=text,
    environment=environment,
    per_replica=boolean,
)

DEVICE_REQUEST = Object(capabilities=texts, driver=text, count=device_count, device_ids=texts, options=labels)

_UPDATE_CONFIG = Object(
    parallelism=unsigned_or_unset,
    delay=duration,
    failure_action=text,
    monitor=duration,
    max_failure_ratio=number32,
    order=text,
)

_RESOURCE = Object(
    cpus=number32,
    memory=size,
    pids=integer,
    devices=ListOf(DEVICE_REQUEST),
    generic_resources=ListOf(
        Object(discrete_resource_spec=Printed({"kind": "", "value": 0}, kind=text, value=integer))
    ),
)

DEPLOY = Object(
    mode=text,
    replicas=integer_or_unset,
    labels=labels,
    update_config=_UPDATE_CONFIG,
    rollback_config=_UPDATE_CONFIG,
    resources=Always(Object(limits=_RESOURCE, reservations=_RESOURCE)),
    restart_policy=Object(
        condition=text, delay=duration_or_unset, max_attempts=unsigned_or_unset, window=duration_or_unset
    ),
    placement=Always(
        Object(constraints=texts, preferences=ListOf(Object(spread=text)), max_replicas_per_node=unsigned)
    ),
    endpoint_mode=text,
)

_FILE_REFERENCE = Object(source=text, target=text, uid=text, gid=text, mode=file_mode)

BUILD = Object(
    context=text,
    dockerfile=text,
    dockerfile_inline=text,
    entitlements=texts,
    args=environment,
    provenance=text,
    sbom=text,
    ssh=ssh_keys,
    labels=labels,
    cache_from=texts,
    cache_to=texts,
    no_cache=boolean,
    no_cache_filter=texts,
    additional_contexts=labels,
    pull=boolean,
    extra_hosts=extra_hosts,
    isolation=text,
    network=text,
    target=text,
    secrets=ListOf(_FILE_REFERENCE),
    shm_size=size,
    tags=texts,
    ulimits=MapOf(ulimit),
    platforms=texts,
    privileged=boolean,
)

_THROTTLE = ListOf(Printed({"Path": "", "Rate": "0"}, path=text, rate=size_or_zero))

BLKIO = Object(
    weight=unsigned,
    weight_device=ListOf(Printed({"Path": "", "Weight": 0}, path=text, weight=unsigned)),
    device_read_bps=_THROTTLE,
    device_read_iops=_THROTTLE,
    device_write_bps=_THROTTLE,
    device_write_iops=_THROTTLE,
)

VOLUME_MOUNT = Object(
    type=text,
    source=text,
    target=text,
    read_only=boolean,
    consistency=text,
    bind=Bind(selinux=text, propagation=text, create_host_path=create_host_path, recursive=text),
    volume=Object(labels=labels, nocopy=boolean, subpath=text),
    tmpfs=Object(size=size, mode=unsigned),
    image=Object(subpath=text),
)

SERVICE = Object(
    profiles=texts,
    annotations=labels,
    attach=boolean_or_unset,
    build=BUILD,
    develop=Object(
        watch=ListOf(
            Object(
                path=text,
                action=text,
                target=text,
                exec=Always(HOOK),
                include=texts,
                ignore=texts,
                initial_sync=boolean,
            )
        )
    ),
    blkio_config=BLKIO,
    cap_add=texts,
    cap_drop=texts,
    cgroup_parent=text,
    cgroup=text,
    cpu_count=integer,
    cpu_percent=number32,
    cpu_period=integer,
    cpu_quota=integer,
    cpu_rt_period=integer,
    cpu_rt_runtime=integer,
    cpus=number32,
    cpuset=text,
    cpu_shares=integer,
    command=command,
    configs=ListOf(_FILE_REFERENCE),
    container_name=text,
    credential_spec=Object(config=text, file=text, registry=text),
    depends_on=MapOf(Object(condition=text, restart=boolean, required=boolean_or_unset)),
    deploy=DEPLOY,
    device_cgroup_rules=texts,
    devices=ListOf(Object(source=text, target=text, permissions=text)),
    dns=texts,
    dns_opt=texts,
    dns_search=texts,
    domainname=text,
    entrypoint=command,
    provider=Object(type=text, options=multi_options),
    environment=environment,
    env_file=ListOf(Object(path=text, required=boolean_or_unset, format=text)),
    expose=any_texts,
    extends=Object(file=text, service=text),
    external_links=texts,
    extra_hosts=extra_hosts,
    group_add=texts,
    gpus=ListOf(DEVICE_REQUEST),
    hostname=text,
    healthcheck=Object(
        test=health_test,
        timeout=duration_or_unset,
        interval=duration_or_unset,
        retries=unsigned_or_unset,
        start_period=duration_or_unset,
        start_interval=duration_or_unset,
        disable=boolean,
    ),
    image=text,
    init=boolean_or_unset,
    ipc=text,
    isolation=text,
    labels=labels,
    label_file=texts,
    links=texts,
    logging=Object(driver=text, options=options),
    mem_limit=size,
    mem_reservation=size,
    memswap_limit=size,
    mem_swappiness=size,
    mac_address=text,
    models=MapOf(Object(endpoint_var=text, model_var=text)),
    network_mode=text,
    networks=MapOf(
        Object(
            aliases=texts,
            driver_opts=options,
            gw_priority=integer,
            interface_name=text,
            ipv4_address=text,
            ipv6_address=text,
            link_local_ips=texts,
            mac_address=text,
            priority=integer,
        )
    ),
    oom_kill_disable=boolean,
    oom_score_adj=integer,
    pid=text,
    pids_limit=integer,
    platform=text,
    ports=ListOf(
        Object(
            name=text,
            mode=text,
            host_ip=text,
            target=unsigned,
            published=text,
            protocol=text,
            app_protocol=text,
        )
    ),
    privileged=boolean,
    pull_policy=text,
    read_only=boolean,
    restart=text,
    runtime=text,
    scale=integer_or_unset,
    secrets=ListOf(_FILE_REFERENCE),
    security_opt=texts,
    shm_size=size,
    stdin_open=boolean,
    stop_grace_period=duration_or_unset,
    stop_signal=text,
    storage_opt=text_map,
    sysctls=labels,
    tmpfs=texts,
    tty=boolean,
    ulimits=MapOf(ulimit),
    use_api_socket=boolean,
    user=text,
    userns_mode=text,
    uts=text,
    volumes=ListOf(VOLUME_MOUNT),
    volumes_from=texts,
    working_dir=text,
    pre_start=ListOf(HOOK),
    post_start=ListOf(HOOK),
    pre_stop=ListOf(HOOK),
)

NETWORK = Object(
    name=text,
    driver=text,
    driver_opts=options,
    ipam=Always(
        Object(
            driver=text,
            config=ListOf(Object(subnet=text, gateway=text, ip_range=text, aux_addresses=labels)),
            options=options,
        )
    ),
    external=boolean,
    internal=boolean,
    attachable=boolean,
    labels=labels,
    enable_ipv4=boolean_or_unset,
    enable_ipv6=boolean_or_unset,
)

VOLUME = Object(name=text, driver=text, driver_opts=options, external=boolean, labels=labels)

FILE_OBJECT = Object(
    name=text,
    file=text,
    environment=text,
    content=text,
    external=boolean,
    labels=labels,
    driver=text,
    driver_opts=text_map,
    template_driver=text,
)

MODEL = Object(name=text, model=text, context_size=integer, runtime_flags=texts)
