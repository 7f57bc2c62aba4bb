# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encoding: what is made from a template is what pyroute2 would have made."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, Session, ndmsg, rtmsg


def messages(chance: random.Random) -> list[Message]:
    """What the resources send, in both families, in any order, some with fewer attributes."""

    def ip() -> str:
        return ".".join(str(chance.randrange(256)) for _ in range(4))

    def ip6() -> str:
        return f"fd00::{chance.randrange(1, 1 << 16):x}"

    def mac() -> str:
        return ":".join(f"{chance.randrange(256):02x}" for _ in range(6))

    made = []
    for _number in range(200):
        address: Any = chance.choice([ip, ip6])
        neighbour = {"family": 2, "ifindex": chance.choice([3, 4]), "state": 0x80}
        made.append(
            Message(28, chance.choice([0x100, 0x500]), ndmsg, neighbour, [("NDA_DST", address()), ("NDA_LLADDR", mac())])
        )
        fdb = [
            ("NDA_LLADDR", mac()),
            ("NDA_DST", address()),
            ("NDA_PORT", chance.randrange(1 << 16)),
            ("NDA_VNI", chance.randrange(1 << 24)),
        ]
        made.append(Message(28, 0x500, ndmsg, {**neighbour, "family": 7, "flags": 2}, fdb[: chance.randrange(1, 5)]))
        route = [("RTA_TABLE", 254), ("RTA_DST", ip()), ("RTA_GATEWAY", ip()), ("RTA_OIF", chance.randrange(1, 99))]
        made.append(
            Message(24, 0x500, rtmsg, {"family": 2, "dst_len": chance.choice([24, 25]), "table": 254, "proto": 157}, route)
        )
    chance.shuffle(made)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_template_gives_the_bytes_that_pyroute2_gives(seed: int) -> None:
    quick, plain = Session(), Session()
    for number, message in enumerate(messages(random.Random(seed))):
        flags = _netlink.NLM_F_ACK if number % 7 == 0 else 0
        assert quick._encode(message, flags) == plain._encode_once(message, flags), message
    assert any(quick._templates.values())


def test_what_has_no_template_is_left_to_pyroute2() -> None:
    info = {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VXLAN_ID", 88)]})]}
    message = Message(16, 0, _netlink.ifinfmsg, {"index": 3}, [("IFLA_IFNAME", "vx"), ("IFLA_LINKINFO", info)])
    quick, plain = Session(), Session()
    for _time in range(2):
        assert quick._encode(message, 0) == plain._encode_once(message, 0)
    assert list(quick._templates.values()) == [None]
