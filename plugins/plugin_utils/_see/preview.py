# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run would do to the fleet, before it does it. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import ZERO_MAC, IPNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun, join_names

# As docker_bip gives the reason.
NOT_RUNNING = "dockerd is not running"


def preview_run(plan: Plan, answers: Mapping[str, Any], restarts: Mapping[str, str]) -> dict[str, Any]:
    """Hosts touched, peers that come and go, what is made anew, daemons restarted, containers hit.

    @param answers: by host, what overlay_host returned in check mode
    @param restarts: by host, overlay_docker_restart
    """
    found: dict[str, Any] = {"hosts": len(answers), "touched": [], "recreated": [], "restarted": [], "waiting": [], "drops": []}
    found.update(networks_removed=[], held=[], stopped=[], containers=[], auto_removed=[], losses=[])
    added: set[tuple[str, str]] = set()
    removed: set[tuple[str, str]] = set()
    for host, answer in sorted(answers.items()):
        docker = answer.get("docker_bip") or {}
        restart = bool(docker.get("restart_required"))
        if answer["operations"] or restart:
            found["touched"].append(host)
        for operation in answer["operations"]:
            resource, verb, name = [*operation.split(), "", ""][:3]
            if verb == "re-create":
                found["recreated"].append(f"{host}: {name}")
            elif (resource, verb) == ("docker_network:", "remove"):
                found["networks_removed"].append(f"{host}: {name}")
        if restart and restarts.get(host) == "never":
            found["waiting"].append(host)
        elif restart:
            found["held"] += _list_held(host, docker, restarts)
            found["restarted"].append(host)
            found["stopped"] += [host] if NOT_RUNNING in docker.get("restart_reasons", ()) else []
            gone = docker["auto_removed"]
            found["containers"] += [f"{host}: {name}" for name in docker["containers"] if name not in gone]
            found["auto_removed"] += [f"{host}: {name}" for name in gone]
        found["drops"] += [
            f"{host}: {impact['operation']}: drops {impact['drops']}, until {impact['until']}." for impact in answer["impact"]
        ]
        names = name_peers(plan, host)
        for item in answer["drift"]:
            peer = find_peer(names, item) if _leads_to_peer(item) else ""
            (added if item["kind"] == "missing" else removed).update({(host, peer)} if peer else set())
        found["losses"] += list_losses(plan, host, answer["drift"])
    # Of one whose address moves one entry comes and one goes.
    found["peers_added"] = [f"{host}: {peer}" for host, peer in sorted(added - removed)]
    found["peers_removed"] = [f"{host}: {peer}" for host, peer in sorted(removed - added)]
    return found


def _list_held(host: str, docker: Mapping[str, Any], restarts: Mapping[str, str]) -> list[str]:
    """A host whose docker0 a network is to leave, and the containers that nobody gave up for that."""
    if not docker.get("leaving") or docker["live_restore"] or restarts.get(host) == "always" or not docker["containers"]:
        return []
    return [f"{host}: {', '.join(docker['containers'])}"]


def _leads_to_peer(item: Mapping[str, Any]) -> bool:
    """Whether an item of drift is the one of a peer's that counts."""
    return item["kind"] != "wrong" and (item["resource"] == "route_entry" or ZERO_MAC in item["name"])


def list_losses(plan: Plan, host: str, drift: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many of its peers a host would lose on networks of the plan.

    What moves comes as well as goes. On a network that the host is to leave, all; one that leaves the plan is named by
    overlay_remove, and was meant to.
    """
    items = [item for item in drift if _leads_to_peer(item)]
    # On the first run of thousands there are millions of items to come, and none to go.
    if not any(item["kind"] == "extra" for item in items):
        return []
    routes = [(IPNetwork(item["name"]), item["kind"]) for item in items if item["resource"] == "route_entry"]
    entries = [(item["name"].split()[0], item["kind"]) for item in items if item["resource"] == "fdb_entry"]
    found = []
    for network in plan.networks.values():
        # By route in each family, by the entries of head-end replication where all share one subnet.
        kinds = [[kind for subnet, kind in routes if subnet in IPNetwork(cidr)] for cidr in network.cidrs]
        kinds += [[kind for device, kind in entries if device == tunnel.device] for tunnel in network.tunnels[:1]]
        lost = max(of.count("extra") - of.count("missing") for of in kinds)
        if lost > 0:
            had = lost + (len(network.find_peers(host)) if host in network.members else 0)
            found.append({"host": host, "network": network.name, "lost": lost, "had": had})
    return found


def name_peers(plan: Plan, node: str) -> dict[str, str]:
    """What routes and entries of a node's peers lead to, and the peers' names."""
    names: dict[str, str] = {}
    for network in plan.list_networks_of(node):
        own = network.members[node]
        for name, peer in network.find_peers(node).items():
            names.update({word: name for lease in peer.leases for word in (lease.subnet, lease.vtep_ip)})
            names.update(dict.fromkeys(peer.macs, name))
            names.setdefault(own.find_peer_address(peer), name)
    return names


def find_peer(names: Mapping[str, str], item: Mapping[str, Any]) -> str:
    """The peer that an entry is the way to; of one that left, what its entry says; empty where it is of none."""
    words = item["name"].split()
    if item["resource"] == "route_entry":
        return names.get(item["name"], item["name"])
    if item["resource"] == "fdb_entry" and words[1] == ZERO_MAC:
        return names.get(words[2], words[2])
    return names.get(words[1], "") if item["resource"] in ("neigh_entry", "fdb_entry") else ""


def describe_preview(found: Mapping[str, Any]) -> list[str]:
    """The same in words, a line each."""
    if not found["touched"]:
        return [f"Nothing is to be done on {count_noun(found['hosts'], 'host')}."]
    lines = [f"To be touched: {len(found['touched'])} of {count_noun(found['hosts'], 'host')}: {join_names(found['touched'])}."]
    for key, text in (
        ("peers_added", "Peers added"),
        ("peers_removed", "Peers removed"),
        ("recreated", "Made anew"),
        ("networks_removed", "Docker networks removed"),
        ("restarted", "Docker restarts"),
        ("stopped", "Docker of them does not run, and is started"),
        ("containers", "Containers that a restart stops and starts"),
        ("auto_removed", "Containers that a restart stops for good (--rm, or in the network of such a one)"),
        ("waiting", "Docker waits for a restart by its owner"),
    ):
        if found[key]:
            lines.append(f"{text}: {len(found[key])} ({join_names(found[key])}).")
    return lines + list(found["drops"])


def prove_reach(found: Mapping[str, Any], answers: Mapping[str, Any]) -> list[str]:
    """What the hosts' pings have shown as they were looked at; nothing where it takes another look at them.

    That is so where a host is changed, where one does not answer, and where containers are to be pinged too.
    """
    probes = [answer.get("probe") for answer in answers.values()]
    if found["touched"] or not all(probe and not probe["missing"] and not probe["containers"] for probe in probes):
        return []
    answered = sum(probe["answered"] for probe in probes if probe)
    return [f"Verified: every host answers every other, small and at full MTU ({count_noun(answered, 'ping')})."]


def list_exceeded(
    found: Mapping[str, Any],
    recreate: int | None,
    restart: int | None,
    remove: int | None = None,
    earlier: Iterable[Mapping[str, Any]] = (),
) -> list[str]:
    """Which limits the run would go over, with what to do.

    @param remove: how many peers any one host may lose; without a number fewer than half of those that it has, or one
    @param earlier: what was found of hosts of the same play that went before, which count too
    """
    before = list(earlier)
    untouched = "No further host was touched" if any(one["touched"] for one in before) else "No host was touched"

    def gather(*kinds: str) -> list[str]:
        own = {name for kind in kinds for name in found[kind]}
        # Who adds nothing goes over no limit.
        return sorted(own.union(name for one in before for kind in kinds for name in one[kind])) if own else []

    limits = (
        ("overlay_max_recreate", recreate, gather("recreated", "networks_removed"), "make anew or remove"),
        ("overlay_max_restart", restart, gather("restarted"), "restart Docker on"),
    )
    problems = [
        f"The run would {words} {len(names)} ({join_names(names)}), and {variable} is {limit}. {untouched}. "
        f"Limit the run, or raise {variable}"
        for variable, limit, names, words in limits
        if limit is not None and len(names) > limit
    ]
    if found["held"]:
        problems.append(
            "A network is to leave docker0, and Docker would have to restart, which would stop containers "
            f"({'; '.join(found['held'])}). {untouched}. Stop them, or set overlay_docker_restart to always"
        )
    return problems + _list_cut_off(found["losses"], remove, untouched)


def _list_cut_off(losses: Iterable[Mapping[str, Any]], remove: int | None, untouched: str) -> list[str]:
    """The host that would lose the most peers, where that is more than was meant."""
    over = [
        one
        for one in losses
        if (one["lost"] > remove if remove is not None else one["lost"] > 1 and one["lost"] * 2 >= one["had"])
    ]
    if not over:
        return []
    worst = max(over, key=lambda one: int(one["lost"]))
    more = f", and {count_noun(len(over) - 1, 'more host')} as well" if len(over) > 1 else ""
    return [
        f"The run would take {worst['lost']} of its {worst['had']} peers on {worst['network']} from {worst['host']}{more}. "
        f"{untouched}. If these peers left for good, set overlay_max_remove={worst['lost']} for this run. If the "
        "inventory lacks hosts, as each slice of a job does in AWX, set overlay_plan_file to a plan of them all"
    ]
