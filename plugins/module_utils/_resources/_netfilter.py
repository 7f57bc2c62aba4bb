# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of netfilter on a host: which are there, whose tables have Docker's rules, what ufw keeps out. PRIVATE.

There are two kinds of iptables, and the kernel asks the tables of both: those that xtables-nft writes into nftables, and the
legacy ones. Docker uses the program it finds at its start, which need not be the one that C(iptables) is today.
"""

from __future__ import annotations

import glob
import os
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._resources._iptables import (
    Chain,
    has_docker,
    lets_port_in,
    parse_chains,
)

# Where ufw keeps whether it starts at boot.
_UFW = "/etc/ufw/ufw.conf"


def list_missing_program(program: str) -> List[str]:
    """What there is to say where a program is not there."""
    if shutil.which(program):
        return []
    package = "nftables" if program == "nft" else "iptables"
    return [
        "firewall: the program %s is missing on this host; install the package %s (Debian, Fedora, SUSE: the same name)"
        % (program, package)
    ]


def read_filter_tables(host: Host, family: str) -> Dict[str, Dict[str, Chain]]:
    """The chains of the filter table, by the program whose table it is; usually there is one.

    @param family: iptables or ip6tables
    """
    if not shutil.which(family):
        return {}
    found = {family: _read_chains(host, family)}
    legacy = _has_legacy(family)
    if legacy or not has_docker(found[family]):
        # To ask the legacy program of a table that is not there would make it.
        other = "-nft" if "nf_tables" not in host.run([family, "-V"], None)[1] else "-legacy" if legacy else ""
        if other and shutil.which(family + other):
            found[family + other] = _read_chains(host, family + other)
    return found


def find_docker_programs(host: Host) -> Set[str]:
    """The programs whose tables have rules of Docker's."""
    families = (read_filter_tables(host, family) for family in ("iptables", "ip6tables"))
    return {program for found in families for program, chains in found.items() if has_docker(chains)}


def _read_chains(host: Host, program: str) -> Dict[str, Chain]:
    # The whole table: what iptables says of a chain that is not there differs between its versions.
    code, out, err = host.run([program, "-w", "-S"], None)
    if code:
        raise OverlayError("firewall: %s cannot list its filter table: %s" % (program, err.strip()))
    return parse_chains(out)


def _has_legacy(family: str) -> bool:
    """Whether this network namespace has a legacy filter table."""
    try:
        with open("/proc/self/net/%s_tables_names" % family[: -len("tables")], encoding="ascii") as handle:
            return "filter" in handle.read().split()
    except OSError:
        return False


def is_docker_running() -> Optional[bool]:
    """Whether a dockerd runs in this network namespace; None where there is none to be started either."""
    ours = os.stat("/proc/self/ns/net").st_ino
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="ascii", errors="replace") as handle:
                # One from a package that brings its own mounts is here all the same.
                if handle.read().strip() == "dockerd" and os.stat(os.path.dirname(path) + "/ns/net").st_ino == ours:
                    return True
        except OSError:
            continue
    return False if _docker_api.is_docker_installed() else None


def list_ufw_obstacles(host: Host, family: str, port: int, senders: Sequence[str]) -> List[str]:
    """What there is to say where ufw runs and has no rule that lets a UDP port in."""
    if not os.path.exists(_UFW) or not shutil.which(family):
        return []
    chains: Mapping[str, Any] = _read_chains(host, family)
    if lets_port_in(chains, port, senders):
        return []
    return [
        "firewall: ufw is active here and lets UDP port %d in by no rule of its %s, so that no packet of the overlay would "
        "arrive. Run: ufw allow %d/udp (from whom, our own nft table sees to)" % (port, family, port)
    ]
