# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address of a host discover.yml chooses, and what it says of fleets that no test has machines for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.agentless.overlay.plugins.module_utils._looking._ways import query_routes
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.discovered import (
    find_discovered_file,
    read_discovered,
    record_discovered,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.leases import LeaseFileError
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.proposal import Proposal, propose_variables
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey import (
    ANCHORS,
    Contact,
    Sight,
    choose_addresses,
    find_sight,
    list_pings,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey_words import (
    list_survey_sentences,
    list_table_lines,
)

DOCKER = {"installed": True, "version": "28.5.2", "containers": [], "networks": [], "said": ""}
# What a ping says where all is well.
GOOD = {
    "kind": "unicast",
    "device": "eth0",
    "gateway": "",
    "source": "",
    "mtu": 0,
    "answers": True,
    "largest": 1500,
    "said": "",
}


def own(address: str, prefix: int = 24, device: str = "eth0", mtu: int = 1500, lasting: bool = True) -> dict[str, Any]:
    return {"address": address, "prefix": prefix, "device": device, "mtu": mtu, "mac": f"mac-{address}", "lasting": lasting}


def way(source: str, kind: str = "unicast", gateway: str = "") -> dict[str, Any]:
    return {"kind": kind, "device": "eth0", "gateway": gateway, "source": source, "mtu": 0}


def fleet(hosts: Mapping[str, list[dict[str, Any]]], **ways: dict[str, Any]) -> dict[str, Any]:
    """Answers of hosts with addresses, and with ways."""
    return {name: {"addresses": some, "ways": ways.get(name, {}), "docker": DOCKER} for name, some in hosts.items()}


def pinged_of(answers: Mapping[str, Any], contacts: list[Contact], **changes: Mapping[str, Any]) -> dict[str, Any]:
    """All answer each other; but for what is changed, by C(here) and address."""
    pings = list_pings(choose_addresses(contacts, answers))
    return {
        here: {
            "pings": {
                one["address"]: {**GOOD, "mac": f"mac-{one['address']}", **changes.get(here, {}).get(one["address"], {})}
                for one in pings
                if one["name"] != here
            }
        }
        for here in answers
    }


def propose(contacts: list[Contact], answers: Mapping[str, Any], **changes: Mapping[str, Any]) -> Proposal:
    return propose_variables(contacts, choose_addresses(contacts, answers), pinged_of(answers, contacts, **changes))


def test_the_way_to_most_others_decides() -> None:
    hosts = {"a": [own("10.0.0.2"), own("10.1.0.2", device="eth1")], "b": [own("10.1.0.3")], "c": [own("10.1.0.4")]}
    ways = {"a": {"10.1.0.3": way("10.1.0.2"), "10.1.0.4": way("10.1.0.2"), ANCHORS[4]: way("10.0.0.2")}}
    contacts = [Contact("a", "10.0.0.2", {4: "10.0.0.2"}), Contact("b", "10.1.0.3", {4: "10.1.0.3"}), Contact("c", "c")]
    chosen = {name: one.chosen[4] for name, one in choose_addresses(contacts, fleet(hosts, **ways)).items()}
    assert (chosen["a"].address, chosen["a"].device) == ("10.1.0.2", "eth1")
    assert chosen["a"].why == "its packets to the other hosts leave by it"
    assert chosen["b"].why == "Ansible reaches it there" and chosen["c"].why == "it is the first that no other host has"


def test_what_the_owner_says_decides_before_that() -> None:
    hosts = {"a": [own("10.0.0.2"), own("10.1.0.2", device="eth1", mtu=9000)]}
    contact = Contact("a", "10.0.0.2", {4: "10.0.0.2"}, {"overlay_underlay_ip": "10.1.0.2"}, {4: "10.1.0.2"})
    made = propose([contact], fleet(hosts, a={"10.0.0.3": way("10.0.0.2")}))
    assert made.values == {"a": {"overlay_underlay_dev": "eth1", "overlay_underlay_mtu": 9000}} and not made.differing


def test_an_address_that_all_hosts_have_is_none_of_theirs() -> None:
    """As the first interface of machines that Vagrant makes, which all are reached at 127.0.0.1."""
    hosts = {name: [own("10.0.2.15"), own(f"192.168.56.{n}", device="eth1")] for n, name in enumerate("ab", 3)}
    answers = fleet(hosts, **{name: {ANCHORS[4]: way("10.0.2.15")} for name in hosts})
    contacts = [Contact(name, "127.0.0.1") for name in hosts]
    found = {name: one.chosen[4].address for name, one in choose_addresses(contacts, answers).items()}
    assert found == {"a": "192.168.56.3", "b": "192.168.56.4"}


@pytest.mark.parametrize(
    ("change", "sight"),
    [
        ({}, Sight.DIRECT),
        ({"gateway": "10.0.0.1", "mac": ""}, Sight.ROUTED),
        ({"gateway": "10.0.0.1", "mac": "", "answers": False}, Sight.LOST),
        ({"mac": "", "answers": False}, Sight.LOST),
        # A firewall; a device without MACs; somebody else; the host itself.
        ({"answers": False}, Sight.DIRECT),
        ({"mac": ""}, Sight.DIRECT),
        ({"mac": "other"}, Sight.MISTAKEN),
        ({"kind": "local"}, Sight.MISTAKEN),
    ],
)
def test_how_hosts_find_each_other(change: dict[str, Any], sight: Sight) -> None:
    assert find_sight({**GOOD, "mac": "m", **change}, frozenset({"m", "n"})) is sight


def test_single_addresses_are_no_subnet() -> None:
    """As some clouds give them: all else is behind a router."""
    hosts = {"a": [own("10.128.0.2", 32)], "b": [own("10.128.0.3", 32)]}
    contacts = [Contact(name, some[0]["address"], {4: some[0]["address"]}) for name, some in hosts.items()]
    routed = {"gateway": "10.128.0.1", "mac": ""}
    made = propose(contacts, fleet(hosts), a={"10.128.0.3": routed}, b={"10.128.0.2": routed})
    assert {name: one["overlay_underlay_ip"] for name, one in made.values.items()} == {"a": "10.128.0.2", "b": "10.128.0.3"}
    assert list_survey_sentences(contacts, made, fleet(hosts), {}, {}) == []


def test_a_public_address_that_answers_no_ping_is_proposed_with_a_word() -> None:
    hosts = {"a": [own("10.0.0.2")], "b": [own("172.31.0.2")]}
    contacts = [Contact("a", "10.0.0.2", {4: "10.0.0.2"}), Contact("b", "52.0.0.1", {4: "52.0.0.1"})]
    lost = {"gateway": "10.0.0.1", "mac": "", "answers": False}
    made = propose(contacts, fleet(hosts), a={"172.31.0.2": lost, "52.0.0.1": lost})
    assert made.values["b"]["overlay_public_ip"] == "52.0.0.1" and made.list_lost() == [("a", "b")]
    told = " ".join(list_survey_sentences(contacts, made, fleet(hosts), {}, {}))
    assert "proposed as overlay_public_ip, but no ping to it is answered: see that a NAT (1:1) leads from there" in told


def test_what_its_owner_announces_is_what_others_ping() -> None:
    """Where Ansible runs behind the NAT too, and reaches the host as it is."""
    hosts = {"a": [own("10.0.0.2")], "b": [own("172.31.0.2")]}
    given = {"overlay_public_ip": "52.0.0.1"}
    contacts = [
        Contact("a", "10.0.0.2", {4: "10.0.0.2"}),
        Contact("b", "172.31.0.2", {4: "172.31.0.2"}, given, {}, {4: "52.0.0.1"}),
    ]
    made = propose(contacts, fleet(hosts), a={"172.31.0.2": {"gateway": "10.0.0.1", "mac": "", "answers": False}})
    assert made.list_lost() == [] and not made.differing and "overlay_public_ip" not in made.values["b"]
    assert list_survey_sentences(contacts, made, fleet(hosts), {}, {}) == []


def test_who_reaches_it_without_the_nat_is_named() -> None:
    hosts = {"a": [own("10.0.0.2")], "b": [own("10.0.1.2")], "c": [own("192.168.0.2")]}
    public = {"a": "52.0.0.1", "b": "52.0.0.2"}
    contacts = [Contact(name, public.get(name, name), {4: public[name]} if name in public else {}) for name in hosts]
    near = {"gateway": "10.0.0.1", "mac": ""}
    far = {**near, "answers": False}
    made = propose(contacts, fleet(hosts), a={"10.0.1.2": near}, b={"10.0.0.2": near}, c={"10.0.0.2": far, "10.0.1.2": far})
    told = " ".join(list_survey_sentences(contacts, made, fleet(hosts), {}, {}))
    assert "b and a reach each other without the NAT and are not on one subnet: give them one overlay_underlay_subnet" in told


def test_a_rented_ipv6_address_is_not_written() -> None:
    hosts = {n: [own(f"10.0.0.{i}"), own(f"fd00::{i}", 64, lasting=n == "a")] for i, n in enumerate("ab", 2)}
    contacts = [Contact(name, some[0]["address"], {4: some[0]["address"]}) for name, some in hosts.items()]
    made = propose(contacts, fleet(hosts))
    assert [one["overlay_underlay_ip"] for one in made.values.values()] == ["10.0.0.2/24", "10.0.0.3/24"]


def test_hosts_without_a_family_in_common_are_told_and_cut_off() -> None:
    hosts = {"a": [own("10.0.0.2")], "b": [own("10.0.0.3")], "c": [own("fd00::4", 64)], "d": []}
    contacts = [
        Contact(name, some[0]["address"], {6 if name == "c" else 4: some[0]["address"]}) for name, some in hosts.items() if some
    ]
    contacts.append(Contact("d", "10.0.0.5", {4: "10.0.0.5"}))
    made = propose(contacts, fleet(hosts))
    told = " ".join(list_survey_sentences(contacts, made, fleet(hosts), {}, {}))
    assert "No family of addresses joins all hosts: IPv4 on a, b; IPv6 on c." in told
    assert "No address of the family by which the inventory knows it is on d. Nothing is written of it." in told
    assert made.list_lost() == [] and made.list_cut_off() == {"a", "b", "c", "d"}
    some = {name: hosts[name] for name in "ab"}
    both = propose(contacts[:2], fleet(some))
    assert both.list_cut_off() == set()
    assert "family" not in " ".join(list_survey_sentences(contacts[:2], both, fleet(some), {}, {}))


def test_two_addresses_of_one_device_are_told_by_address() -> None:
    hosts = {"a": [own("10.0.0.2"), own("10.0.0.9")], "b": [own("10.0.0.3")]}
    contacts = [Contact(name, some[0]["address"], {4: some[0]["address"]}) for name, some in hosts.items()]
    told = " ".join(list_survey_sentences(contacts, propose(contacts, fleet(hosts)), fleet(hosts), {}, {}))
    assert "Several addresses: a (10.0.0.2, not 10.0.0.9): the first is used, as Ansible reaches it there." in told


def test_three_hundred_hosts_stay_readable() -> None:
    names = [f"host{number:03}" for number in range(300)]
    hosts = {
        name: [own(f"10.0.{n // 200}.{n % 200 + 2}", 16, mtu=1400 if n == 7 else 9000), own(f"172.30.{n // 200}.{n % 200 + 2}")]
        for n, name in enumerate(names)
    }
    contacts = [Contact(name, some[0]["address"], {4: some[0]["address"]}) for name, some in hosts.items()]
    answers = fleet({name: some for name, some in hosts.items() if name != "host009"})
    made = propose(contacts, answers, host001={hosts["host002"][0]["address"]: {"largest": 1480}})
    lines = list_table_lines(contacts, made, answers, {})
    assert len(lines) == 301 and max(map(len, lines)) < 110
    assert all(" " not in cell for line in lines for cell in re.split(" {2,}", line))
    told = list_survey_sentences(contacts, made, answers, {"host009": "Connection timed out."}, {})
    assert told[0] == "Nothing is known of host009: Connection timed out. Nothing is written of it."
    assert max(map(len, told)) < 900 and len(told) == 4
    assert any("1400 on host007 (eth0); 9000 on 298 hosts" in one for one in told)
    assert "host009" not in made.values and made.values["host002"]["overlay_underlay_mtu"] == 1480


def test_a_record_keeps_hosts_that_were_not_asked(tmp_path: Path) -> None:
    file = find_discovered_file(f"{tmp_path}/records/leases.yml")
    assert file == f"{tmp_path}/records/discovered.yml" and find_discovered_file("") == ""
    first = {"a": {"overlay_underlay_ip": "10.0.0.2/24"}, "b": {"overlay_underlay_ip": "10.0.0.3/24"}}
    assert record_discovered(file, first, check=True)[0] == "" and not Path(file).exists()
    record_discovered(file, first, check=False)
    before, after = record_discovered(file, {"a": {"overlay_underlay_ip": "10.0.0.9/24"}}, check=False)
    assert before != after == Path(file).read_text()
    assert read_discovered(file) == {**first, "a": {"overlay_underlay_ip": "10.0.0.9/24"}}
    # Some alone cannot tell whether it has to announce another one; of one that has moved all is new.
    alone = {"a": {"overlay_underlay_ip": "10.0.0.9"}, "b": {"overlay_underlay_ip": "10.0.0.4/24"}}
    record_discovered(file, alone, check=False, complete=False)
    assert read_discovered(file) == {"a": {"overlay_underlay_ip": "10.0.0.9/24"}, "b": alone["b"]}
    record_discovered(file, {**first, "a": {"overlay_underlay_ip": "10.0.0.9/24"}}, check=False)
    # One of which its owner says all himself.
    record_discovered(file, {"a": {}}, check=False)
    assert yaml.safe_load(Path(file).read_text()) == {"overlay_discovered": {"b": first["b"]}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("overlay_discovered: [a]", "holds something else"),
        ("overlay_discovered: {a: 1}", "holds something else"),
        ("overlay_discovered: {}\nx: 1", "holds something else"),
        ("overlay_discovered: {a: {overlay_subnet: 10.0.0.0/24}}", "a: overlay_subnet: only overlay_underlay_ip"),
        ("a: [", "cannot be read"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "discovered.yml").write_text(text)
    with pytest.raises(LeaseFileError, match=problem):
        read_discovered(str(tmp_path / "discovered.yml"))


def test_where_there_is_no_address_to_ask_for_no_program_waits_for_one() -> None:
    """Without a line of input ip would read the terminal that Ansible gives a module, and never end."""
    assert query_routes(lambda command, stdin: pytest.fail(f"{command} was run"), []) == {}
