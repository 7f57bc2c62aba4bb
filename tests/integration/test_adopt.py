# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has one of our names and does not carry our mark is somebody else's; so is a network of another inventory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from labs import Lab, Namespace

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot as boot

MARK = "agentless.overlay:x"
LINK = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": "02:00:00:00:00:08", "mtu": 1450, "alias": MARK}
BRIDGE = {"name": "br.100", "mac": "02:00:00:00:00:07", "mtu": 1450, "alias": MARK, "accept_ra": 0, "autoconf": 0}
LOOK = "ip -d link show type vxlan | grep -v gc_timer; ip link; ip -o address; bridge link"
WISHES: dict[str, dict[str, Any]] = {
    "vxlan_link": {"vxlan_link": [{"entries": [{**LINK, "addresses": ["10.77.1.1/16"]}], "purge": True}]},
    "bridge": {"bridge": [{**BRIDGE, "addresses": ["10.77.1.1/16"]}]},
}
# What somebody made by hand, with an address by which the host is reached.
MADE = {
    "vxlan_link": "ip link add vx up type vxlan id 88 dstport 4789 local 10.1.1.1; ip address add 192.168.1.5/24 dev vx",
    "bridge": "ip link add name br.100 up type bridge; ip address add 192.168.1.5/24 dev br.100; "
    "ip link add eth0 type veth peer name eth1; ip link set eth0 master br.100 up",
}
NOTHING: dict[str, dict[str, Any]] = {
    "vxlan_link": {"vxlan_link": [{"entries": [], "purge": True}]},
    "bridge": {"bridge": []},
}
NAMES = {"vxlan_link": "vx", "bridge": "br.100"}


def seen(namespace: Namespace) -> str:
    return still(namespace.sh(LOOK))


def still(said: str) -> str:
    """Without how far carriers and addresses have come."""
    return re.sub(r"NO-CARRIER,|,LOWER_UP| state \S+| tentative| qlen 1000| timer \S+", "", said)


def adopting(section: str) -> dict[str, Any]:
    if section == "bridge":
        return {"bridge": [{**WISHES["bridge"]["bridge"][0], "adopt": True}]}
    part = WISHES["vxlan_link"]["vxlan_link"][0]
    return {"vxlan_link": [{**part, "entries": [{**part["entries"][0], "adopt": True}]}]}


@pytest.mark.parametrize("section", list(WISHES))
def test_what_does_not_carry_our_mark_is_left_alone(namespace: Namespace, pyroute2: str, section: str) -> None:
    namespace.sh(MADE[section])
    before, name = seen(namespace), NAMES[section]
    for check in (True, False):
        answer = namespace.module("overlay_host", pyroute2, check=check, fails=True, **WISHES[section])
        words = f"{section}: {name} exists and does not carry our mark: it is somebody else's. Remove or rename it, or"
        assert words in answer["msg"] and "overlay_adopt" in answer["msg"] and "Nothing was changed" in answer["msg"]
        assert seen(namespace) == before
    # A run that fails gives it back, without our mark.
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    answer = namespace.module("overlay_host", pyroute2, fails=True, **adopting(section), files=broken)
    assert "the host is as it was." in answer["msg"], answer["msg"]
    assert seen(namespace) == before
    namespace.converge("overlay_host", pyroute2, **adopting(section))
    shown = namespace.json(f"ip -j address show dev {name}")[0]
    assert {one["local"] for one in shown["addr_info"] if one["family"] == "inet"} == {"192.168.1.5", "10.77.1.1"}
    assert f"alias {MARK}" in namespace.sh(f"ip link show dev {name}")
    # From then on it is ours and is asked for nothing, by a run or by a boot; but what was on it stays.
    script = boot.make_boot_script(_module.validate_sections(WISHES[section]))
    for _time in range(2):
        assert not namespace.converge("overlay_host", pyroute2, **WISHES[section])["changed"]
        namespace.shell(script)
    assert "192.168.1.5" in namespace.sh(f"ip address show dev {name}")
    assert f"alias {MARK} (adopted)" in namespace.sh(f"ip link show dev {name}")
    # Its network has the name that was given it.
    namespace.module("overlay_host", pyroute2, check=True, networks={"known": ["x"]}, **NOTHING[section])
    namespace.converge("overlay_host", pyroute2, **NOTHING[section])
    if section == "vxlan_link":
        assert name not in namespace.sh("ip link")
        return
    # A bridge that others need is given back.
    assert "192.168.1.5" in namespace.sh(f"ip address show dev {name}") and "alias" not in namespace.sh(f"ip link show {name}")
    assert f"master {name}" in namespace.sh("ip link show dev eth0")


def test_a_boot_marks_what_was_there_before_it(namespace: Namespace) -> None:
    """As a bridge that the distribution's own configuration makes at each boot."""
    namespace.sh(MADE["bridge"])
    namespace.shell(boot.make_boot_script(_module.validate_sections(WISHES["bridge"])))
    assert f"alias {MARK} (adopted)" in namespace.sh("ip link show dev br.100")
    # A MAC is given with a device only; the next run sees to it, and to no address of others.
    done = namespace.converge("overlay_host", **WISHES["bridge"])
    assert done["operations"] == ["bridge: change br.100"]
    assert "192.168.1.5" in namespace.sh("ip address show dev br.100")


def test_a_teardown_leaves_what_does_not_carry_our_mark(namespace: Namespace) -> None:
    namespace.sh(f"{MADE['bridge']}; {MADE['vxlan_link'].replace('192.168.1.5', '192.168.2.5')}")
    before = seen(namespace)
    done = namespace.converge("overlay_host", bridge=[], vxlan_link=[{"entries": [], "purge": True}])
    assert not done["changed"] and seen(namespace) == before


def test_a_device_of_ones_own_is_changed_without_a_word(namespace: Namespace, pyroute2: str) -> None:
    """Whose wish carries no mark means a device that carries none; and one that is named may be removed."""
    namespace.sh(MADE["vxlan_link"])
    plain = {name: value for name, value in LINK.items() if name != "alias"}
    namespace.converge("vxlan_link", pyroute2, **plain, ttl=9)
    assert "ttl 9" in namespace.sh("ip -d link show dev vx")
    namespace.converge("vxlan_link", pyroute2, name="vx", state="absent")


@pytest.mark.parametrize("section", list(WISHES))
def test_another_kind_of_device_is_named(namespace: Namespace, pyroute2: str, section: str) -> None:
    name = NAMES[section]
    namespace.sh(f"ip link add {name} type veth peer name far")
    for check in (True, False):
        answer = namespace.module("overlay_host", pyroute2, check=check, fails=True, **WISHES[section])
        kind = "bridge" if section == "bridge" else "vxlan device"
        assert f"{name} exists and is not a {kind}. Remove it or choose another name" in answer["msg"]
    assert "vx" not in namespace.sh("ip link show type vxlan")


def test_all_that_stands_in_the_way_is_told_at_once(namespace: Namespace) -> None:
    namespace.sh("ip link add vx type veth peer name far; ip link add br.100 type bridge")
    answer = namespace.module("overlay_host", fails=True, **WISHES["vxlan_link"], **WISHES["bridge"])
    assert "vx exists and is not a vxlan device" in answer["msg"] and "br.100 exists and does not carry" in answer["msg"]


@pytest.mark.parametrize("change", [False, True])
def test_a_vni_of_somebody_elses_is_refused_before_anything_is_touched(
    namespace: Namespace, pyroute2: str, change: bool
) -> None:
    """Also where a device of ours would be made anew for it; another port, or another family, is another matter."""
    if change:
        other = {"vxlan_link": [{"entries": [{**LINK, "vni": 89}], "purge": True}]}
        namespace.converge("overlay_host", pyroute2, **other)
    namespace.sh("ip link add flannel.1 type vxlan id 88 dstport 4789 local 10.1.1.9; ip address add 10.5.5.5/32 dev lo")
    before = seen(namespace)
    wish = {**WISHES["vxlan_link"], "sysctl": [{"name": "net.ipv4.ip_forward", "value": "1"}]}
    for check in (True, False):
        answer = namespace.module("overlay_host", pyroute2, check=check, fails=True, **wish)
        assert "vx: VNI 88 on port 4789 is that of flannel.1, which is not ours" in answer["msg"]
        assert "ip link delete flannel.1" in answer["msg"] and "Nothing was changed" in answer["msg"]
        assert seen(namespace) == before and namespace.sh("sysctl -n net.ipv4.ip_forward").strip() == "0"
    for entry in ({**LINK, "port": 8472}, {**LINK, "local": "fd65::1", "mtu": 1430}):
        namespace.converge("overlay_host", pyroute2, vxlan_link=[{"entries": [entry], "purge": True}])


# By the inventory.

DEMO = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}
WEB = {
    **{"name": "web", "backend": "multicast", "cidr": "10.89.0.0/24", "vni": 89, "attach": "host"},
    "group": "239.1.1.1",
    "dev": "eth0",
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two hosts without Docker, on networks that need none."""
    made = Lab(tmp_path_factory.mktemp("inventory"), docker=False)
    for host in made.hosts.values():
        del host["overlay_subnet"]
    made.networks = [DEMO, WEB]
    try:
        made.up()
        yield made
    finally:
        made.down()


def put(lab: Lab, *networks: dict[str, Any], **variables: Any) -> None:
    lab.networks = list(networks)
    lab.write_inventory(overlay_verify="never", **variables)


@pytest.mark.parametrize("how", ["transaction", "stepwise"])
def test_a_network_that_the_inventory_does_not_know_stops_the_run(two: Lab, how: str) -> None:
    apply = ("-e", f"overlay_apply={how}")
    put(two, DEMO, WEB)
    two.converge(*apply)
    put(two, DEMO)
    before = still(two.sh("docker1", LOOK))
    for args in (("--check",), ()):
        refused = two.play(*apply, *args)
        assert refused.code == 2 and "Network web is on this host" in refused.text, refused.output
        assert "list it in overlay_remove" in refused.text and still(two.sh("docker1", LOOK)) == before
    # To look is no harm.
    drift = two.play("-e", f"overlay_report_dir={two.inventory.parent}/report", playbook="playbooks/drift.yml")
    assert drift.code == 2 and "vxlan.89" in (two.inventory.parent / "report/drift.json").read_text(), drift.output
    put(two, DEMO, overlay_remove=["web"])
    predicted = two.converge("--check", "--diff", *apply)
    done = two.converge("--diff", *apply)
    assert set(done.changed().values()) != {0} and predicted.diffs.keys() == done.diffs.keys()
    assert "vxlan.89" not in two.sh("docker1", "ip link") and "vxlan.88" in two.sh("docker1", "ip link")
    put(two, DEMO)
    assert set(two.converge(*apply).changed().values()) == {0}


def test_a_device_of_somebody_elses_is_taken_over_on_demand(two: Lab) -> None:
    put(two, DEMO)
    two.converge()
    two.sh("docker1", "ip link set dev vxlan.88 alias ''; ip address add 192.168.1.5/24 dev vxlan.88")
    refused = two.play()
    assert refused.code == 2 and "vxlan.88 exists and does not carry our mark" in refused.text, refused.output
    done = two.converge("-e", "overlay_adopt=true")
    assert done.changed()["docker1"]
    assert "alias agentless.overlay:demo" in two.sh("docker1", "ip link show dev vxlan.88")
    assert "192.168.1.5/24" in two.sh("docker1", "ip address show dev vxlan.88")
    two.converge("-e", "overlay_adopt=true", "-e", "overlay_apply=stepwise")


def test_teardown_takes_networks_that_nobody_knows(two: Lab) -> None:
    put(two, DEMO, WEB)
    two.converge()
    put(two)
    values = yaml.safe_load((two.inventory / "group_vars/overlay/main.yml").read_text())
    assert values["overlay_networks"] == []
    torn = two.play(playbook="playbooks/teardown.yml")
    assert torn.code == 0, torn.output
    assert "vxlan" not in two.sh("docker1", "ip link")
