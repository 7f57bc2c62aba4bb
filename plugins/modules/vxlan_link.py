#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vxlan_link
short_description: Vxlan devices
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Makes, changes and removes vxlan devices.
  - On a device whose O(alias) marks it as ours, an option that is not given has the kernel's default, except O(mac), O(mtu),
    O(accept_ra) and O(autoconf), which are left as they are. On any other device each is left as it is.
  - What the kernel can change on a living device is changed in place. The rest re-creates the device, with the same interface
    index, and puts back all that was on it and set on it, by us and by others, in one transaction. What nobody could put back
    (a device on top of it, a qdisc, an XDP program, a chain of nft that is bound to it) is named, and nothing is touched.
  - A device of that name that does not carry our mark, where O(alias) does, is somebody else's, and so is one with the same
    O(vni) and O(port). Both are named, and nothing is touched.
  - O(purge) removes devices that are marked as ours by their alias and not listed.

extends_documentation_fragment:
  - agentless.overlay.engine
  - agentless.overlay.engine.bulk
options:
  name: &name
    description: The name of the device, at most 15 characters.
    type: str
  vni: &vni
    description: The VXLAN network identifier, 1 to 16777215. Another one re-creates the device.
    type: int
  port: &port
    description: The UDP port that it sends to and listens on. Another one re-creates the device.
    type: int
  local: &local
    description: The outer source address.
    type: str
  remote: &remote
    description: The one outer destination of a point-to-point tunnel.
    type: str
  group:
    description: The multicast group that takes the place of O(remote); needs O(dev).
    type: str
  dev: &dev
    description: The underlay device that it is bound to. The kernel removes the vxlan device together with it.
    type: str
  learning: &learning
    description: Whether it learns outer addresses from received frames.
    type: bool
  ttl: &ttl
    description: The TTL of outer packets; 0 takes the system's default.
    type: int
  ttl_inherit: &ttl_inherit
    description: Whether outer packets take the TTL of inner ones. Another value re-creates the device.
    type: bool
  tos: &tos
    description: The TOS of outer packets; 1 copies the inner one.
    type: int
  df: &df
    description: The DF bit of outer packets.
    type: str
    choices: [unset, set, inherit]
  flowlabel: &flowlabel
    description: The IPv6 flow label of outer packets; for an IPv6 underlay.
    type: int
  ageing: &ageing
    description: Lifetime of learnt FDB entries in seconds.
    type: int
  maxaddress: &maxaddress
    description: The largest number of FDB entries; 0 for no limit. Another one re-creates the device.
    type: int
  srcport_min:
    description: The first UDP source port, with O(srcport_max). Another range re-creates the device.
    type: int
  srcport_max: &srcport_max
    description: The last UDP source port.
    type: int
  udpcsum: &udpcsum
    description: Whether outer UDP packets carry a checksum. Another value re-creates the device.
    type: bool
  udp6zerocsumtx: &udp6zerocsumtx
    description: Whether outer packets over IPv6 go without a checksum. Another value re-creates the device.
    type: bool
  udp6zerocsumrx: &udp6zerocsumrx
    description: Whether such packets are taken. Another value re-creates the device.
    type: bool
  gbp: &gbp
    description: Whether packets carry a group policy (GBP). Another value re-creates the device.
    type: bool
  proxy: &proxy
    description: Whether the device answers for neighbours that it knows. Another value re-creates the device.
    type: bool
  rsc: &rsc
    description: Whether it short-circuits routes. Another value re-creates the device.
    type: bool
  l2miss: &l2miss
    description: Whether it tells listeners of unknown MACs. Another value re-creates the device.
    type: bool
  l3miss: &l3miss
    description: Whether it tells listeners of unknown addresses. Another value re-creates the device.
    type: bool
  localbypass: &localbypass
    description: Whether packets to a VTEP of the same host go past the network; from Linux 6.5.
    type: bool
  mac: &mac
    description: The MAC of the device. Another one makes the kernel drop its neighbours, which are put back.
    type: str
  mtu: &mtu
    description: The MTU in bytes.
    type: int
  alias: &alias
    description: A text on the device. One that begins with C(agentless.overlay:) marks it as ours.
    type: str
  master: &master
    description:
      - The bridge that the device is a port of.
      - A bridge that nobody gave a MAC has the lowest one of its ports. Where the device changes it, the neighbours of the
        bridge are put back. One without a port that has a MAC drawn by the kernel is refused.
    type: str
  neigh_suppress: &neigh_suppress
    description: Whether that port holds back requests for neighbours that the bridge knows.
    type: bool
  up: &up
    description: Whether the device shall be up. Without it, it shall.
    type: bool
  accept_ra: &accept_ra
    description:
      - Whether it takes router advertisements, as C(net.ipv6.conf.DEVICE.accept_ra); V(2) also where the host forwards.
      - A device without IPv6 takes none, so that V(0) is no difference there.
    type: int
    choices: [0, 1, 2]
  autoconf: &autoconf
    description: Whether it gives itself addresses from them, as C(net.ipv6.conf.DEVICE.autoconf).
    type: int
    choices: [0, 1]
  addresses: &addresses
    description:
      - The addresses with prefix length that the device shall have, and no others but link-local ones. Where the device is
        taken over, those of others stay.
    type: list
    elements: str
  adopt:
    description:
      - Whether to take over a device of that name that does not carry our mark, where O(alias) does. Its alias ends in
        C(adopted) then, and addresses of others on it stay.
    type: bool
  entries:
    description: Many devices in one call, with one dump and one batch of messages.
    type: list
    elements: dict
    suboptions:
      name: {<<: *name, required: true}
      <<: {vni: *vni, port: *port, local: *local, remote: *remote, dev: *dev, learning: *learning, ttl: *ttl,
        ttl_inherit: *ttl_inherit, tos: *tos, df: *df, flowlabel: *flowlabel, ageing: *ageing, maxaddress: *maxaddress,
        srcport_max: *srcport_max, udpcsum: *udpcsum, udp6zerocsumtx: *udp6zerocsumtx, udp6zerocsumrx: *udp6zerocsumrx,
        gbp: *gbp, proxy: *proxy, rsc: *rsc, l2miss: *l2miss, l3miss: *l3miss, localbypass: *localbypass, mac: *mac,
        mtu: *mtu, alias: *alias, master: *master, neigh_suppress: *neigh_suppress, up: *up, accept_ra: *accept_ra,
        autoconf: *autoconf, addresses: *addresses}
      group:
        description: The multicast group that takes the place of O(entries[].remote); needs O(entries[].dev).
        type: str
      srcport_min:
        description: The first UDP source port, with O(entries[].srcport_max). Another range re-creates the device.
        type: int
      adopt:
        description: Whether to take over a device of that name that does not carry our mark, where O(entries[].alias) does.
        type: bool
      state: {description: Whether the entry shall be there., type: str, choices: [present, absent]}
"""

EXAMPLES = r"""
- name: The VTEP of network demo
  agentless.overlay.vxlan_link:
    name: vxlan.88
    vni: 88
    port: 4789
    local: 192.168.65.3
    learning: false
    mac: 02:0a:00:00:00:01
    mtu: 1450
    alias: agentless.overlay:demo
    addresses: [10.88.50.0/32]

- name: No VTEP of that name
  agentless.overlay.vxlan_link:
    name: vxlan.88
    state: absent
"""

RETURN = r"""
operations: {description: "What was, or in check mode would be, done, in order.", type: list, elements: str, returned: success,
  sample: ["vxlan_link: add vxlan.88 vni 88 local 192.168.65.3 port 4789 mac 02:0a:00:00:00:01 mtu 1450"]}
impact: {description: Operations that drop packets and until when., type: list, elements: dict, returned: success, sample: []}
counters: {description: "What it cost, by resource: dumps, single look-ups, batches that write, messages in them.", type: dict,
  returned: success, sample: {vxlan_link: {dumps: 1, requests: 0, batches: 1, messages: 1000}}}
"""

from functools import partial

from ansible_collections.agentless.overlay.plugins.module_utils._module import run_resource_module

main = partial(run_resource_module, "vxlan_link")


if __name__ == "__main__":
    main()
