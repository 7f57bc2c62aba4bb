#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_host
short_description: Everything of the overlay on one host, in one transaction
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Reads devices, addresses, neighbours, FDB, routes, firewall rules, settings and files, works out what differs, and brings it
    to what is wanted, additions first and in the order in which they depend on each other, removals last.
  - All or nothing. Where an operation fails, what was done is undone, and the error names the entry, the reason and a remedy,
    and what could not be undone, where there is any.
  - Each option takes what the module of that name takes, as a list of option sets.

extends_documentation_fragment:
  - agentless.overlay.engine
options:
  vxlan_link: {type: list, elements: dict, description: [Option sets of M(agentless.overlay.vxlan_link).]}
  neigh_entry: {type: list, elements: dict, description: [Option sets of M(agentless.overlay.neigh_entry).]}
  fdb_entry: {type: list, elements: dict, description: [Option sets of M(agentless.overlay.fdb_entry).]}
  route_entry: {type: list, elements: dict, description: [Option sets of M(agentless.overlay.route_entry).]}
  docker_bip:
    description:
      - At most one option set of M(agentless.overlay.docker_bip).
    type: list
    elements: dict
  docker_network:
    description:
      - Docker networks that hold a lease beside docker0. For each its C(name), the overlay network it is of (C(network)), by
        family its C(subnets), C(gateways) and, where containers get addresses of a part only, C(ip_ranges); the name of its
        C(bridge), the C(devices) from which the other hosts' packets come (an empty one for that which leads to the address in
        C(via)), the C(mtu), and whether Docker masquerades (C(masquerade)).
      - Made at once, without a restart of Docker. Those with our label that are not listed are removed. One that a container
        uses is never removed or made anew; the module fails and names the containers.
    type: list
    elements: dict
  firewall:
    description:
      - For each network its name (C(network)). With C(cidrs), C(leases), C(devices) and C(bridge), by default C(docker0), what
        comes from the network is accepted between devices and bridge at the top of the chain DOCKER-USER, and what leaves the
        network, multicast excepted, is masqueraded in a table of our own. An empty device stands for any.
      - Where Docker has its rules in iptables and FORWARD does not lead to DOCKER-USER, or takes packets before, Docker's jump
        is put at its top.
      - With C(tunnels), a list of C(protocol), by default C(udp), C(port) and C(vni), and C(vteps), the underlay addresses of
        the peers, also who may send us packets of these tunnels; those of all others are dropped and counted.
      - With C(cidrs) and no C(leases), what Docker does for a bridge of its own, and C(publish), a list of C(port) and C(to),
        for ports that are mapped by DNAT.
      - Rules of ours for networks that are not listed are removed.
    type: list
    elements: dict
  bridge:
    description:
      - Bridges that are ours, with C(name), C(mac), C(mtu), C(alias), C(addresses), and C(accept_ra) and C(autoconf) as for
        M(agentless.overlay.vxlan_link). Those with our mark that are not listed are removed. One that is there without our mark
        is taken over only where C(adopt) is true, and loses our mark instead of being removed.
    type: list
    elements: dict
  sandbox:
    description:
      - Networks of containers made by hand. For each the C(name) of the namespace, the C(network), the C(bridge) that its veth
        device is a port of, the C(address) with prefix length, the C(gateway) and the C(mtu).
    type: list
    elements: dict
  units:
    description:
      - Units of systemd that map a port by a proxy, with C(name), C(content) and C(enabled). The names begin with
        C(agentless-overlay-proxy-).
    type: list
    elements: dict
  managers:
    description:
      - The C(devices) of tunnels, the C(bridges), and as C(flows) the C(protocol) and C(port) of each tunnel. For each of
        systemd-networkd, udev, NetworkManager and firewalld that is installed, files that make it leave them alone or let them
        pass; one that runs is told to read them. What of our rules that flushes is put back at once.
    type: list
    elements: dict
  boot:
    description:
      - One item, for a script that makes all of the above again after a reboot, and the systemd unit that runs it before
        Docker.
      - The script is made from the other options of the call, or from C(sections) with the same names, where given.
    type: list
    elements: dict
  files:
    description:
      - Files with C(path), C(content), C(mode) (by default V(0644)) and C(state) (V(present) or V(absent)).
      - A content that names C(agentless.overlay) replaces no file that does not, unless C(adopt) is true, and V(absent) removes
        none.
    type: list
    elements: dict
  sysctl:
    description:
      - Kernel settings with C(name) and C(value).
    type: list
    elements: dict
  tell:
    description:
      - Whether, in check mode, what stands in the way is told as a difference, for a report, and does not make the module fail.
    type: bool
    default: false
  looks:
    description:
      - Whether check mode is of this call alone, in a run that changes what differs with the next one. What Python compiled is
        then kept on the host, as it is without check mode.
    type: bool
    default: false
  allow_drops:
    description:
      - Whether an operation may drop packets that are on their way. With V(false) the module fails before it touches anything,
        and names each such operation with what it would drop, and until when.
    type: bool
    default: true
  networks:
    description:
      - The overlay networks whose things on the host may change or go. Where something of another one would, the module fails
        before it touches anything, and names the network. Without this option those of all may.
    type: dict
    suboptions:
      known:
        description: The names of the networks of this inventory.
        type: list
        elements: str
        required: true
      remove:
        description: The names of networks that it no longer has, and that are to go.
        type: list
        elements: str
        default: []
  probe:
    description:
      - What to ping where nothing is to be done on the host, so that an unchanged one needs no other call to be verified. Takes
        what M(agentless.overlay.overlay_probe) takes.
    type: dict
    suboptions:
      targets:
        description: What to ping.
        type: list
        elements: dict
        default: []
        suboptions:
          name: {description: How to call it in the result., type: str, required: true}
          address: {description: Its address., type: str, required: true}
          network: {description: The Docker network whose container pings it as well., type: str, default: bridge}
          mtu: {description: "The size of the large packet in bytes, IP header included.", type: int, default: 1450}
      networks:
        description: The Docker networks on which to look for a container; V(bridge) is the default one.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: A host with one peer
  agentless.overlay.overlay_host:
    vxlan_link:
      - purge: true
        entries:
          - name: vxlan.88
            vni: 88
            port: 4789
            local: 192.168.65.3
            learning: false
            alias: agentless.overlay:demo
            addresses: [10.88.50.0/32]
    neigh_entry:
      - device: vxlan.88
        purge: true
        entries:
          - {dst: 10.88.87.0, lladdr: "02:0a:00:00:00:02"}
    fdb_entry:
      - device: vxlan.88
        purge: true
        entries:
          - {mac: "02:0a:00:00:00:02", dst: 192.168.65.4}
    route_entry:
      - purge: true
        entries:
          - {dst: 10.88.87.0/24, gateway: 10.88.87.0, device: vxlan.88, onlink: true}
    sysctl:
      - {name: net.ipv4.ip_forward, value: "1"}
"""

RETURN = r"""
operations:
  description: What was, or in check mode would be, done, in order.
  type: list
  elements: str
  returned: success
  sample: ["neigh_entry: add 10.88.87.0 dev vxlan.88 lladdr 02:0a:00:00:00:02 permanent"]
impact:
  description: The operations that drop packets, with which packets and until when; empty where none is dropped.
  type: list
  elements: dict
  returned: success
  sample:
    - operation: "vxlan_link: re-create vxlan.88 vni 89"
      drops: packets over vxlan.88, both ways
      until: each peer has been converged too
drift:
  description: Each entry that is, or was before this call, missing, extra or wrong, with what differs as planned and as found.
  type: list
  elements: dict
  returned: success
  sample:
    - resource: neigh_entry
      name: vxlan.88 10.88.87.0
      kind: missing
      planned: ["10.88.87.0 dev vxlan.88 lladdr 02:0a:00:00:00:02 permanent"]
      found: []
certificate:
  description:
    - Hashes of what the options ask for (C(planned)) and of that with what differs on the host in its place (C(live)); equal if
      and only if there is no drift.
  type: dict
  returned: success
  sample: {planned: 5e6f, live: 5e6f}
counters:
  description: What it cost, by resource; whole dumps, single look-ups, batches of messages that write, and messages in them.
  type: dict
  returned: success
  sample: {neigh_entry: {dumps: 1, requests: 0, batches: 1, messages: 1000}}
probe:
  description: The containers that can ping, by Docker network, how many pings were answered, and those that were not.
  type: dict
  returned: when O(probe) is given and there is nothing to do on the host
  sample: {containers: {}, answered: 4, missing: []}
boot:
  description: Why the next boot would not make the host as it is now (C(warning)), which is a warning too.
  type: dict
  returned: when the boot unit had failed before and fails again
  sample:
    warning: >-
      The host is as planned, but the next boot would not make it so: systemctl restart agentless-overlay.service: exit code 1.
      See what is in its way (journalctl -u agentless-overlay.service), and run this again
docker_bip:
  description: What Docker says of itself, as of docker_bip.
  type: dict
  returned: when there is a section docker_bip
  sample: {version: 28.5.2, restart_required: true, restart_reasons: ["docker0 has 172.17.0.1/16, not 10.88.50.1/24"],
    containers: [web, job], returning: [web], paused: [], auto_removed: [job], live_restore: false, remove_bridge: false,
    leaving: false, path: /etc/docker/daemon.json}
"""

from ansible_collections.agentless.overlay.plugins.module_utils import _imports


def main() -> None:
    _imports.compile_once()
    # Only now: to import it takes longer than to look at a host that is as planned.
    from ansible_collections.agentless.overlay.plugins.module_utils import _module

    _module.run_host_module()


if __name__ == "__main__":
    main()
