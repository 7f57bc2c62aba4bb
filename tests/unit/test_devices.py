# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this kernel has not, on a host that has it: flowtables, VLANs on bridges, a former wish of any kind."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_DELLINK, Message, Session
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _standing, _vlans
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link, list_option_names


@pytest.mark.parametrize(
    "line",
    [
        '\t\ttype filter hook ingress device "vx" priority filter; policy accept;',
        "\t\ttype filter hook ingress device vx priority 0; policy accept;",
        '\t\ttype filter hook egress devices = { "eth0", "vx" } priority filter; policy accept;',
        "\t\tdevices = { eth0, vx }",
        '\t\tdevices = { "vx" }',
    ],
)
def test_chains_and_flowtables_are_found_by_the_devices_that_they_name(line: str) -> None:
    text = "table inet t {\n\tflowtable f {\n\t\thook ingress priority filter\n%s\n\t}\n}\n"
    for said, found in ((line, [7]), (line.replace("vx", "vx.1"), []), (line.replace("vx", "lo"), [])):
        host = Host(run=lambda args, stdin, said=said: (0, text % said, ""))
        assert [index for index, _thing, _remedy in _standing._find_hooks(host, {7: "vx"})] == found, said


class Vlans(Session):
    """A kernel with VLANs on bridges: port 7 has 1, untagged, and 5 to 9; what is written to it is noted."""

    written: list[Message]

    def dump_raw(self, message: Message) -> list[bytes]:
        assert _attributes.split_attributes(message.raw, 16) == [(29, struct.pack("=I", 4))] and message.raw[0] == 7
        told = [_attributes.pack_attribute(2, struct.pack("=HH", *one)) for one in ((6, 1), (8, 5), (16, 9))]
        spec = _attributes.nest_attributes(26, _attributes.pack_attribute(0, struct.pack("=H", 0)), *told)
        return [_attributes.pack_device(7, spec, family=7)]

    def write_one(self, message: Message) -> None:
        self.written.append(message)


def test_a_port_gets_its_vlans_and_no_others() -> None:
    """As `bridge vlan del` and `bridge vlan add` ask for it (iproute2 6.1, by strace), and tunnels when VLANs are there."""
    session = Vlans()
    session.written = []
    host = Host(session=session)
    found = _vlans.read_vlans(host)[7]
    assert found == tuple((2, struct.pack("=HH", *one)) for one in ((6, 1), (8, 5), (16, 9)))
    _vlans.put_vlans(host, 7, found, False)
    assert session.written == []
    tunnel = (3, _attributes.pack_attribute(1, struct.pack("=I", 30)) + _attributes.pack_attribute(2, struct.pack("=H", 30)))
    wanted = ((2, struct.pack("=HH", 6, 10)), tunnel)
    _vlans.put_vlans(host, 7, wanted, False)
    asked = []
    for message in session.written:
        ((number, spec),) = _attributes.split_attributes(message.raw, 16)
        assert number == 26 and message.raw[0] == 7
        asked.append((message.kind, _attributes.split_attributes(spec)))
    assert asked == [(RTM_DELLINK, list(found)), (19, [wanted[0]]), (19, [tunnel])]
    session.written = []
    _vlans.put_vlans(host, 7, wanted[:1], True)
    ((_number, spec),) = _attributes.split_attributes(session.written[-1].raw, 16)
    assert _attributes.split_attributes(spec) == [(0, struct.pack("=H", 2)), wanted[0]]


OTHERWISE: dict[str, Any] = {
    **{"port": 4789, "local": "10.1.1.1", "remote": "10.1.1.2", "dev": "eth0", "learning": False, "ttl": 9, "tos": 8},
    **{"df": "set", "flowlabel": 7, "ageing": 77, "maxaddress": 5, "srcport": (1, 2), "udpcsum": False, "localbypass": False},
    **dict.fromkeys(("ttl_inherit", "udp6zerocsumtx", "udp6zerocsumrx", "gbp", "proxy", "rsc", "l2miss", "l3miss"), True),
    **{"master": "br.7", "neigh_suppress": True},
}
LEFT = {"name", "vni", "mac", "mtu", "alias", "up", "accept_ra", "autoconf"}


def test_each_option_is_gone_with_the_wish_for_it_or_is_left_for_a_reason() -> None:
    assert set(OTHERWISE) | LEFT == set(list_option_names())
    ours = Link("vx", vni=88, alias="agentless.overlay:x")
    found = Link(
        **{**OTHERWISE, "name": "vx", "vni": 88, "alias": "agentless.overlay:x", "mac": "02:00:00:00:00:01", "mtu": 1450}
    )
    assert set(found.lacks(ours)) == set(OTHERWISE)
    # Without our mark it is somebody's own, and with a device that has the defaults there is nothing to do.
    assert found.lacks(Link("vx", vni=88)) == {}
    assert Link(**{"name": "vx", "vni": 88, "alias": ours.alias, **found.lacks(ours)}).same(ours)


def test_a_master_that_is_no_bridge_is_somebody_elses() -> None:
    ours = Link("vx", vni=88, alias="agentless.overlay:x")
    assert Link("vx", vni=88, alias=ours.alias, master="red").lacks(ours) == {}
