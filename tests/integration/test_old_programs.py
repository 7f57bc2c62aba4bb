# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot script by the oldest programs that are supported, those of Debian 11: iproute2 5.9, nft 0.9.8, iptables 1.8.7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labs import Namespace, run
from test_boot import LINKS, everything, sections

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(run("bash", "tests/rootfs.sh", "bullseye").stdout.strip())


def by_old(namespace: Namespace, root: Path, script: str) -> None:
    """Run a script with another root file system, of which nothing is mounted outside or left."""
    # iptables' lock is in /run; the settings of the namespace's devices are in /proc.
    mounts = f"mount --rbind /dev {root}/dev; mount -t proc proc {root}/proc; mount -t tmpfs tmpfs {root}/run"
    command = ("unshare", "--mount", "sh", "-ec", f"{mounts}; exec chroot {root} sh")
    run("nsenter", f"--net=/run/netns/{namespace.name}", *command, stdin=script)


def without_sandboxes(link: dict[str, Any], namespace: Namespace) -> dict[str, Any]:
    """Their namespaces would be made where nobody sees them."""
    return {name: value for name, value in sections(link, namespace.name).items() if name != "sandbox"}


@pytest.mark.parametrize(("name", "nexthops"), [*((name, "never") for name in LINKS), ("as planned", "always")])
def test_old_programs_make_what_the_module_wants(namespace: Namespace, root: Path, name: str, nexthops: str) -> None:
    # What they have no word for is no obstacle as long as it is what a device begins with.
    wanted = without_sandboxes({**LINKS[name], "localbypass": True}, namespace)
    wanted["route_entry"][0]["nexthops"] = nexthops
    options, problems = _module._check_sections(wanted)
    assert problems == []
    namespace.sh("ip address add 10.1.1.1/24 dev lo; ip link add eth0 type veth peer name eth1; ip link set eth0 up")
    by_old(namespace, root, _boot.make_boot_script(options))
    found = namespace.module("overlay_host", check=True, **wanted)
    assert found["operations"] == [], found["operations"]
    before = everything(namespace)
    by_old(namespace, root, _boot.make_boot_script(options))
    assert everything(namespace) == before
