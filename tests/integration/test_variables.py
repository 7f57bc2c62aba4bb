# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that are wrong, misspelt, vaulted or need facts: all told before any host is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from inventories import NETWORKS, NOW, Fresh
from labs import BIN, ROOT, Played, run, run_playbook

PASSWORD = "open sesame"


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    lab = Fresh(tmp_path / "inventory")
    lab.write_inventory()
    return lab


def read_errors(played: Played) -> list[str]:
    """The numbered lines of the result."""
    assert played.code not in (0, 250) and "no host was touched" in played.text, played.output
    assert "unreachable=1" not in played.text and "Traceback" not in played.text
    return [line.strip() for line in played.output.split("no host was touched.")[-1].splitlines() if ". " in line]


def test_options_of_all_roles_and_plays_are_told_at_once(fresh: Fresh) -> None:
    wrong = {
        "overlay_batch": "lots",
        "overlay_max_fail_percentage": "many",
        "overlay_docker_restart": "nver",
        "overlay_apply": "bogus",
        "overlay_verify": "maybe",
        "overlay_verify_count": "few",
        "overlay_nexthops": None,
        "overlay_max_remove": -1,
        "overlay_labels": "rack1",
        "overlay_networks": [{**NETWORKS[0], "vni": 0}],
    }
    fresh.write_inventory(**wrong)
    for playbook in ("playbooks/overlay.yml", "playbooks/plan.yml", "playbooks/drift.yml"):
        text = fresh.play(playbook=playbook).text
        for words in (
            "web1, web2: overlay_batch = 'lots': neither a number of hosts from 1 nor a percentage such as 25%, nor a list of "
            "these. See ansible-doc -t role agentless.overlay.docker.",
            "web1, web2: overlay_max_fail_percentage = 'many': not a percentage from 0 to 100.",
            "web1, web2: overlay_docker_restart = 'nver': not one of when_idle, always, never. "
            "See ansible-doc -t role agentless.overlay.docker.",
            "web1, web2: overlay_apply = 'bogus': not one of transaction, stepwise. "
            "See ansible-doc -t role agentless.overlay.converge.",
            "web1, web2: overlay_verify = 'maybe': not one of always, never. See ansible-doc -t role agentless.overlay.verify.",
            "web1, web2: overlay_verify_count = 'few': not a whole number.",
            "web1, web2: overlay_nexthops = null: it is empty.",
            "web1, web2: overlay_max_remove = -1: not a whole number from 0.",
            "web1, web2: overlay_labels = 'rack1': not a mapping.",
            "overlay_networks[0].vni = 0: not a whole number",
        ):
            assert words in text, f"{playbook}: {words!r} is not in\n{text}"
        assert "no host was touched" in text and "<class" not in text


def test_an_error_of_many_hosts_is_one_line(fresh: Fresh) -> None:
    fresh.hosts = {f"web{number:03}": {"ansible_host": f"192.168.65.{number}"} for number in range(1, 101)}
    fresh.write_inventory(overlay_apply="bogus")
    told = fresh.plan()
    assert "The inventory has 1 error; no host was touched" in told.text
    assert "web001, web002 and 98 others: overlay_apply = 'bogus'" in told.text and "web003" not in told.text


def test_a_restart_that_nobody_can_count_stops_before_hosts_are_changed(fresh: Fresh) -> None:
    """As it is given on the command line."""
    for given in ("overlay_batch=lots", "overlay_max_fail_percentage=many", "overlay_batch=0"):
        told = fresh.play("-e", given)
        assert told.code == 2 and "The inventory has 1 error; no host was touched" in told.text, told.output
        assert "unreachable=1" not in told.text
    for given in ("overlay_batch=2", "overlay_batch=25%", '{"overlay_batch": [1, "50%"]}', "overlay_max_fail_percentage=12.5"):
        fresh.planned("--check", "-e", given)


def test_a_teardown_checks_what_it_uses_and_needs_no_plan(fresh: Fresh) -> None:
    fresh.write_inventory(overlay_networks="gone", overlay_underlay_ip="{{ nosuchvar }}", overlay_apply="bogus")
    told = fresh.play("-e", "overlay_batch=lots", playbook="playbooks/teardown.yml")
    assert told.code == 2 and "The inventory has 1 error; no host was touched" in told.text, told.output
    assert "web1, web2: overlay_batch = 'lots'" in told.text and "unreachable=1" not in told.text
    # There are no such hosts.
    assert fresh.play(playbook="playbooks/teardown.yml").code == 4


def test_variables_that_the_play_alone_has_are_named(fresh: Fresh) -> None:
    values = yaml.safe_load(fresh.variables.read_text())
    fresh.variables.write_text(yaml.safe_dump({name: value for name, value in values.items() if name != "overlay_networks"}))
    told = plan_after(fresh, own={"overlay_networks": NETWORKS})
    assert told.code == 2 and "overlay_networks = set by the play: a variable of the play, which other plays" in told.text


def test_what_an_import_gives_is_checked_as_what_hosts_have(fresh: Fresh) -> None:
    """No host's variables tell of it, and all playbooks would go by it, or, of the networks, by the inventory's."""
    given = {
        "overlay_docker_restart": "sometimes",
        "overlay_batch": "lots",
        "overlay_verify_seconds": "{{ not_known_yet }}",
        "overlay_alow_drops": False,
        "overlay_networks": [{**NETWORKS[0], "name": "other"}],
    }
    playbook = fresh.inventory.parent / "import.yml"

    def check(values: dict[str, Any]) -> Played:
        play = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/plan.yml"), "vars": values}
        playbook.write_text(yaml.safe_dump([play]))
        where = f"overlay_plan_file={fresh.inventory.parent}/plan.json"
        return Played.of(run_playbook(str(playbook), "-i", str(fresh.inventory), "-e", where, "--check"))

    told = check(given)
    assert told.code == 2 and "The inventory has 4 errors" in told.text, told.output
    for words in (
        "the play: overlay_docker_restart = 'sometimes': not one of when_idle, always, never.",
        "the play: overlay_batch = 'lots': neither a number of hosts",
        "the play: overlay_alow_drops = false: there is no such variable; did you mean overlay_allow_drops.",
        "overlay_networks = set by the play: a variable of the play, which other plays would plan without.",
    ):
        assert words in told.text, told.output
    assert check({"overlay_docker_restart": "never", "overlay_batch": "25%", "overlay_verify_seconds": 3}).code == 0


def test_a_plan_file_that_the_play_alone_has_is_told_once(fresh: Fresh) -> None:
    playbook = fresh.inventory.parent / "import.yml"
    play = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/plan.yml"), "vars": {"overlay_plan_file": "plan.json"}}
    playbook.write_text(yaml.safe_dump([play]))
    told = Played.of(run_playbook(str(playbook), "-i", str(fresh.inventory), "--check"))
    assert "The inventory has 1 error;" in told.text and "overlay_plan_file = set by the play" in told.text, told.output


def test_all_is_told_beside_a_record_that_has_no_place(fresh: Fresh) -> None:
    fresh.hosts["web1"]["overlay_leases"] = "{{ nosuchvar }}/leases.yml"
    fresh.write_inventory(overlay_apply="bogus")
    (fresh.inventory / "group_vars/agentless_overlay").mkdir()
    fresh.write(NOW, "overlay_lease_records: 7\n")
    told = fresh.plan()
    for words in ("is not a mapping of networks", "nosuchvar is not defined", "overlay_apply = 'bogus'"):
        assert words in told.text, told.output


def test_misspelt_variables_do_not_vanish(fresh: Fresh) -> None:
    fresh.write_inventory(overlay_alow_drops=False, overlay_docker_restrt="never", overlay_colour="red")
    told = fresh.plan()
    assert told.code == 2
    assert "web1, web2: overlay_alow_drops = False: there is no such variable; did you mean overlay_allow_drops." in told.text
    assert (
        "web1, web2: overlay_docker_restrt = never: there is no such variable; did you mean overlay_docker_restart."
        in told.text
    )
    fresh.write_inventory(overlay_colour="red")
    warned = fresh.planned()
    assert "No role of agentless.overlay has these variables" in warned.text and "overlay_colour" in warned.text
    own: dict[str, Any] = {"overlay_colour": "red", "overlay_allow_drop": 1}
    fresh.write_inventory(**own, overlay_own_variables=list(own))
    assert "overlay_colour" not in fresh.planned().text
    fresh.write_inventory(**own, overlay_own_variables=",".join(own))
    assert "overlay_colour" not in fresh.planned().text


def test_what_our_own_roles_leave_on_hosts_is_not_misspelt(fresh: Fresh) -> None:
    """A play that plans again after all others."""
    playbook = fresh.inventory.parent / "twice.yml"
    plan = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/plan.yml")}
    playbook.write_text(yaml.safe_dump([plan, plan]))
    fresh.write_inventory(overlay_plan_file="../plan.json")
    said = Played.of(run_playbook(str(playbook), "-i", str(fresh.inventory)))
    assert said.code == 0 and "these variables" not in said.text, said.output


def test_what_is_the_fleets_is_the_same_for_all(fresh: Fresh) -> None:
    own = {
        "overlay_batch": 2,
        "overlay_max_restart": 1,
        "overlay_reserved_cidrs": ["10.9.0.0/16"],
        "overlay_report_dir": "here",
    }
    fresh.hosts["web3"] = {"ansible_host": "192.168.65.13", **own}
    fresh.write_inventory()
    told = fresh.plan()
    assert told.code == 2 and "The inventory has 4 errors" in told.text
    for name, value in own.items():
        shown = repr(value) if isinstance(value, str) else str(value)
        assert f"web3: {name} = {shown}: differs from what web1 has. Set it once for all" in told.text


def encrypt(text: str, password: Path) -> str:
    """As a user writes it into a file of variables."""
    said = run(str(BIN / "ansible-vault"), "encrypt_string", "--vault-password-file", str(password), text).stdout
    return said.replace("\n          ", "\n      ").strip()


def test_vaulted_values_work_and_are_never_shown(fresh: Fresh) -> None:
    password = fresh.inventory.parent / "password"
    password.write_text(PASSWORD)
    given = ("--vault-password-file", str(password))
    secrets = {"cidr": "10.77.0.0/16", "vni": "777", "address": "192.168.77.11", "pin": "10.77.9.0/24", "restart": "never"}
    vaulted = {name: encrypt(text, password) for name, text in secrets.items()}

    def write(**values: str) -> None:
        some = {**vaulted, **{name: encrypt(text, password) for name, text in values.items()}}
        networks = f"  - name: main\n    attach: host\n    cidr: {some['cidr']}\n    vni: {some['vni']}\n"
        fresh.variables.write_text(f"overlay_networks:\n{networks}overlay_docker_restart: {some['restart']}\n")
        fresh.write(
            "host_vars/web1.yml",
            f"secret_address: {some['address']}\noverlay_subnet: {some['pin']}\n"
            "overlay_underlay_ip: '{{ secret_address }}'\n",
        )

    write()
    fresh.write("group_vars/all.yml", "overlay_plan_file: ../plan.json\n")
    made = fresh.play("--diff", *given, playbook="playbooks/plan.yml")
    assert made.code == 0, made.output
    plan = json.loads((fresh.inventory.parent / "plan.json").read_text())["plan"]["networks"]["main"]
    assert plan["cidrs"] == ["10.77.0.0/16"] and plan["tunnels"][0]["vni"] == 777
    assert plan["members"]["web1"]["leases"][0]["subnet"] == "10.77.9.0/24"
    assert plan["members"]["web1"]["underlay_ip"] == "192.168.77.11"
    for secret in ("10.77.0.0", "192.168.77.11", "10.77.9.0/24"):
        assert secret not in made.output
    fresh.planned(*given)
    (fresh.inventory / "group_vars/all.yml").unlink()
    write(cidr="10.66.0.9/16", vni="99999999", address="192.168.300.1", pin="10.55.0.0/24", restart="newer")
    told = fresh.plan(*given)
    assert told.code == 2 and "The inventory has" in told.text
    assert "a vaulted value" in told.text
    for name in ("overlay_docker_restart", "overlay_networks[0].cidr", "overlay_networks[0].vni", "overlay_underlay_ip"):
        assert f"{name} = " in told.text, told.output
    for secret in ("10.66.0", "99999999", "192.168.300.1", "10.55.0.0", "newer"):
        assert secret not in told.output, told.output


def plan_after(fresh: Fresh, *plays: dict[str, Any], own: dict[str, Any] | None = None) -> Played:
    """Plan in a playbook of a user's own, after other plays."""
    playbook = fresh.inventory.parent / "own.yml"
    role = {"ansible.builtin.import_role": {"name": "agentless.overlay.plan"}}
    last = {"hosts": "overlay", "gather_facts": False, "vars": own or {}, "tasks": [role]}
    playbook.write_text(yaml.safe_dump([*plays, last]))
    return Played.of(run_playbook(str(playbook), "-i", str(fresh.inventory)))


def test_addresses_from_facts(fresh: Fresh) -> None:
    """Where there are none it is one sentence, for however many hosts."""
    fresh.write_inventory(overlay_underlay_ip="{{ ansible_facts.default_ipv4.address }}")
    for args in (("--check",), ()):
        (told,) = read_errors(fresh.plan(*args))
        assert (
            "web1, web2: overlay_underlay_ip = {{ ansible_facts.default_ipv4.address }}: facts of the host are needed" in told
        )
    assert not (fresh.inventory / NOW).exists()


def test_addresses_from_gathered_and_from_cached_facts(fresh: Fresh) -> None:
    """Of the controller, as facts are read by its own Python here: both hosts are one, so each adds to the address."""
    fresh.hosts = {"web1": {"ansible_connection": "local", "ansible_become": False}}
    fresh.write_inventory(overlay_underlay_ip="{{ ansible_facts.lo.ipv4.address | replace('127.0.0.1', '192.168.65.11') }}")
    assert plan_after(fresh).code == 2
    gather = {"hosts": "overlay", "gather_facts": True, "tasks": []}
    gathered = plan_after(fresh, gather)
    assert gathered.code == 0, gathered.output
    cache = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fresh.inventory.parent / "facts")}
    playbook = fresh.inventory.parent / "gather.yml"
    playbook.write_text(yaml.safe_dump([gather]))
    assert run_playbook(str(playbook), "-i", str(fresh.inventory), **cache).returncode == 0
    assert fresh.play("--tags", "none", **cache).code == 0
    assert fresh.play("--tags", "none").code == 2


def test_a_template_that_names_what_is_not_there(fresh: Fresh) -> None:
    fresh.hosts["web1"]["overlay_underlay_ip"] = "{{ nosuchvar }}"
    fresh.hosts["web2"]["overlay_subnet"] = {"main": "{{ neither | default(this_one) }}", "more": "10.88.5.0/24"}
    fresh.write_inventory(overlay_networks=[{**NETWORKS[0], "vni": 0}])
    told = fresh.plan()
    assert told.code == 2
    assert "web1: overlay_underlay_ip = {{ nosuchvar }}: nosuchvar is not defined. Define it for the host" in told.text
    assert "web2: overlay_subnet = {{ neither | default(this_one) }}: neither or this_one is not defined." in told.text
    assert "overlay_networks[0].vni = 0: not a whole number" in told.text
    assert "overlay_subnet.more = '10.88.5.0/24': there is no such network" in told.text
    assert "The inventory has 4 errors" in told.text, told.output


def test_beside_a_template_that_cannot_be_worked_out_the_others_are_not_blamed(fresh: Fresh) -> None:
    network = {**NETWORKS[0], "vni": "{{ known }}", "mtu": "{{ nosuchvar }}", "device": "{{ 'vx' }}"}
    fresh.write_inventory(known=88, overlay_networks=[network], overlay_verify_seconds="{{ nosuchvar }}")
    told = fresh.plan()
    assert "web1, web2: overlay_networks = {{ nosuchvar }}: nosuchvar is not defined. Define it for the host" in told.text
    assert "web1, web2: overlay_verify_seconds = {{ nosuchvar }}: nosuchvar is not defined." in told.text
    assert "The inventory has 2 errors" in told.text, told.output


def test_a_template_that_names_itself_is_told_once(fresh: Fresh) -> None:
    fresh.write_inventory(overlay_networks="{{ overlay_networks }}")
    told = fresh.plan()
    assert "The inventory has 1 error;" in told.text and "maximum recursion depth" not in told.text, told.output
