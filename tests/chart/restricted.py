"""Checks a pod's spec against Pod Security `restricted` and the chart's own stricter rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chart.rendering import Object, containers

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
}
SECCOMP = {"RuntimeDefault", "Localhost"}
RESOURCES = ("cpu", "memory", "ephemeral-storage")


def violations(spec: Object) -> list[str]:
    """What admission with `enforce: restricted` would refuse; empty for a good pod."""
    return [
        *_of_pod(spec),
        *(fault for container in containers(spec) for fault in _of_container(spec, container)),
    ]


def _of_pod(spec: Object) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    yield from (
        f"ephemeral container {container['name']}"
        for container in spec.get("ephemeralContainers") or []
    )
    for volume in spec.get("volumes") or []:
        yield from (
            f"volume {volume['name']}: {kind}" for kind in volume if kind not in {*VOLUMES, "name"}
        )
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"


def _of_container(spec: Object, container: Object) -> Iterator[str]:
    """A container's own setting counts, else its pod's."""
    own = container.get("securityContext") or {}
    both: Object = {**(spec.get("securityContext") or {}), **own}
    capabilities = own.get("capabilities") or {}
    wrong = {
        "runAsNonRoot": both.get("runAsNonRoot") is not True,
        "runAsUser 0": both.get("runAsUser") == 0,
        "seccompProfile": (both.get("seccompProfile") or {}).get("type") not in SECCOMP,
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
        "privileged": bool(own.get("privileged")),
        "capabilities.drop": "ALL" not in (capabilities.get("drop") or []),
        "capabilities.add": bool(set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}),
        "procMount": own.get("procMount", "Default") != "Default",
        "hostPort": any(port.get("hostPort") for port in container.get("ports") or []),
        "hostProcess": bool((both.get("windowsOptions") or {}).get("hostProcess")),
        "probe host": any("host" in handler for handler in _handlers(container)),
    }
    yield from (f"container {container['name']}: {name}" for name, bad in wrong.items() if bad)


def _handlers(container: Object) -> Iterator[Any]:
    """The httpGet and tcpSocket of probes and hooks; a host of their own lets the node be asked."""
    hooks = container.get("lifecycle") or {}
    for part in (
        *(container.get(f"{name}Probe") for name in ("startup", "readiness", "liveness")),
        *hooks.values(),
    ):
        yield from ((part or {}).get(kind) or {} for kind in ("httpGet", "tcpSocket"))


def untidy(spec: Object) -> list[str]:
    """What Pod Security allows in a pod and this chart does not."""
    return [
        *_untidy_pod(spec),
        *(fault for container in containers(spec) for fault in _untidy_container(container)),
    ]


def _untidy_pod(spec: Object) -> Iterator[str]:
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks"
    if spec.get("automountServiceAccountToken") is None:
        yield "automountServiceAccountToken is left to the cluster"
    if not spec.get("serviceAccountName"):
        yield "serviceAccountName"
    for volume in spec.get("volumes") or []:
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
            yield f"volume {volume['name']} has no sizeLimit"


def _untidy_container(container: Object) -> Iterator[str]:
    resources = container.get("resources") or {}
    image = container["image"].partition("@")[0]
    tag = image.rpartition("/")[2].partition(":")[2]
    ports = [port["containerPort"] for port in container.get("ports") or []]
    env = [variable["name"] for variable in container.get("env") or []]
    named = [port["name"] for port in container.get("ports") or []]
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts") or []]
    wrong = {
        "readOnlyRootFilesystem": not (container.get("securityContext") or {}).get(
            "readOnlyRootFilesystem"
        ),
        "tag of its image": tag in ("", "latest"),
        "imagePullPolicy": "imagePullPolicy" not in container,
        **{
            f"{name} twice": len(all) != len(set(all))
            for name, all in dict(ports=ports, env=env, named=named, mounts=mounts).items()
        },
        **{
            f"resources.{part}.{kind}": kind not in (resources.get(part) or {})
            for part in ("requests", "limits")
            for kind in RESOURCES
        },
    }
    yield from (f"container {container['name']}: {name}" for name, bad in wrong.items() if bad)
