# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says what to ask the hosts of a play about their underlay, and sums up what they told; on the controller."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.discovered import KEYS, record_discovered
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.leases import LeaseFileError
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_list
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import collect_answers
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.proposal import Proposal, propose_variables
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey import (
    Contact,
    choose_addresses,
    list_ask_targets,
    list_pings,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey_words import (
    PARTIAL,
    list_survey_sentences,
    list_table_lines,
)

_STAGES = ("targets", "pings", "record", "show")
# What of a host is by IP version.
_BY_VERSION = ("addresses", "underlay", "public")


class ActionModule(ActionBase):
    """Runs once, for all hosts of the play."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "stage": {"type": "str", "required": True, "choices": list(_STAGES)},
            "contacts": {"type": "list", "elements": "dict", "default": []},
            "file": {"type": "str", "default": ""},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        result.update(changed=False, _ansible_verbose_override=True)
        if arguments["stage"] == "targets":
            contacts = _read_contacts(variables)
            # Kept, so that a name is resolved once.
            result.update(contacts=[_dump_contact(one) for one in contacts], targets=list_ask_targets(contacts))
            return result
        here = set(variables["ansible_play_hosts_all"])
        contacts = [_load_contact(one) for one in arguments["contacts"]]
        answers, problems = collect_answers(variables, "overlay_discover_answered")
        surveyed = choose_addresses(contacts, answers)
        if arguments["stage"] == "pings":
            result["pings"] = list_pings(surveyed)
            return result
        pinged, more = collect_answers(variables, "overlay_discover_pinged")
        problems.update({name: why for name, why in more.items() if name in answers})
        answers = {name: answer for name, answer in answers.items() if name in pinged}
        complete = {one.name for one in contacts} <= set(pinged)
        contacts = [one for one in contacts if one.name in here]
        made = propose_variables(contacts, choose_addresses(contacts, answers), pinged)
        if arguments["stage"] == "record":
            why = str((variables.get("overlay_plan") or {}).get("msg") or "Set overlay_leases to a path")
            return self._record(result, made, arguments["file"], complete, why)
        restarts = _collect_restarts(variables, answers)
        lines = list_table_lines(contacts, made, answers, restarts)
        result["table"] = lines
        result["sentences"] = list_survey_sentences(contacts, made, answers, problems, restarts)
        if not complete:
            result["sentences"].append(PARTIAL)
        result["lost"] = sorted({host for pair in made.list_lost() for host in pair} | made.list_cut_off())
        result["problems"] = problems
        result["values"] = made.values
        return result

    def _record(self, result: dict[str, Any], made: Proposal, file: str, complete: bool, why: str) -> dict[str, Any]:
        """Write what was found of those that answered."""
        if not file:
            result.update(failed=True, msg=f"Nothing was written. {why}")
            return result
        try:
            # What has been through Ansible's variables is marked as such, and is no text or number to YAML.
            values = json.loads(json.dumps(made.values))
            before, after = record_discovered(file, values, self._task.check_mode, complete)
        except LeaseFileError as error:
            result.update(failed=True, msg=f"{error}. Nothing was written")
            return result
        shown = os.path.relpath(file)
        if before != after:
            result.update(
                changed=True, diff=[{"before_header": shown, "after_header": shown, "before": before, "after": after}]
            )
        result["file"] = shown
        return result


def _read_contacts(variables: Mapping[str, Any]) -> list[Contact]:
    """All hosts of the group, of which a run may ask some."""
    return [_read_contact(name, variables["hostvars"][name]) for name in variables["groups"].get("overlay", [])]


def _read_contact(name: str, values: Any) -> Contact:
    text = str(_read_host_variable(values, "ansible_host") or name).strip("[]")
    given = {key: value for key in KEYS if (value := _read_host_variable(values, key)) is not None}
    underlay, public = (_sort_given(given.get(variable)) for variable in ("overlay_underlay_ip", "overlay_public_ip"))
    return Contact(str(name), text, _resolve(text), given, underlay, public)


def _sort_given(value: Any) -> dict[int, str]:
    """The addresses of a variable by IP version; what is wrong with it the planner says."""
    addresses = (_format_address(str(one).partition("/")[0]) for one in as_list(value))
    return {version_of(address): address for address in addresses if address}


def _read_host_variable(values: Any, variable: str) -> Any:
    """A host's variable; one that cannot be made out, for want of facts, is as if it were not there."""
    try:
        return values.get(variable)
    except AnsibleError:
        return None


def _resolve(text: str) -> dict[int, str]:
    """The addresses of a host by IP version, by the controller's resolver; without those that mean itself to each host."""
    found: dict[int, str] = {}
    if _format_address(text):
        addresses = [_format_address(text)]
    else:
        try:
            addresses = [str(one[4][0]) for one in socket.getaddrinfo(text, None, proto=socket.IPPROTO_TCP)]
        except (OSError, UnicodeError):
            addresses = []
    for address in addresses:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified):
            found.setdefault(parsed.version, str(parsed))
    return found


def _format_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _dump_contact(contact: Contact) -> dict[str, Any]:
    by_version = {key: {str(version): one for version, one in getattr(contact, key).items()} for key in _BY_VERSION}
    return {"name": contact.name, "text": contact.text, "given": dict(contact.given), **by_version}


def _load_contact(plain: Mapping[str, Any]) -> Contact:
    by_version = {key: {int(version): one for version, one in plain[key].items()} for key in _BY_VERSION}
    return Contact(plain["name"], plain["text"], given=plain["given"], **by_version)


def _collect_restarts(variables: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """By host with a Docker what it says of a restart for the plan, or why that is not known."""
    # The second is of the values that were written down meanwhile, and was not made where nothing was.
    plans = [variables.get(register) or {} for register in ("overlay_plan", "overlay_discover_planned")]
    planned = any("plan" in plan for plan in plans)
    why = " ".join(str(plans[0].get("msg") or "").split())
    found: dict[str, Any] = {}
    for name, answer in answers.items():
        said = variables["hostvars"][name].get("overlay_discover_docker") or {}
        if "docker_bip" in said:
            found[name] = said["docker_bip"]
        elif answer["docker"]["installed"] and not planned:
            found[name] = {"problem": f"the inventory cannot be planned yet ({why})"}
        elif said.get("msg") and not said.get("skipped"):
            text = str(said["msg"])
            found[name] = {"problem": "pyroute2 is missing there; run playbooks/prepare.yml" if "pyroute2" in text else text}
    return found
