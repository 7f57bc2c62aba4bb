# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share: their options, and the one way to run the engine. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.agentless.overlay.plugins.module_utils import _docker_api, _netlink, _transaction
from ansible_collections.agentless.overlay.plugins.module_utils._lock import host_lock
from ansible_collections.agentless.overlay.plugins.module_utils._resource import Host, OverlayError

Options = Dict[str, Dict[str, Any]]

_STATE: Options = {"state": {"type": "str", "choices": ["present", "absent"]}}
_LINK: Options = {
    "name": {"type": "str"},
    "vni": {"type": "int"},
    "port": {"type": "int"},
    "local": {"type": "str"},
    "remote": {"type": "str"},
    "group": {"type": "str"},
    "dev": {"type": "str"},
    "learning": {"type": "bool"},
    "ttl": {"type": "int"},
    "ttl_inherit": {"type": "bool"},
    "tos": {"type": "int"},
    "df": {"type": "str", "choices": ["unset", "set", "inherit"]},
    "flowlabel": {"type": "int"},
    "ageing": {"type": "int"},
    "maxaddress": {"type": "int"},
    "srcport_min": {"type": "int"},
    "srcport_max": {"type": "int"},
    "udpcsum": {"type": "bool"},
    "udp6zerocsumtx": {"type": "bool"},
    "udp6zerocsumrx": {"type": "bool"},
    "gbp": {"type": "bool"},
    "proxy": {"type": "bool"},
    "rsc": {"type": "bool"},
    "l2miss": {"type": "bool"},
    "l3miss": {"type": "bool"},
    "localbypass": {"type": "bool"},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "alias": {"type": "str"},
    "master": {"type": "str"},
    "neigh_suppress": {"type": "bool"},
    "up": {"type": "bool"},
    "addresses": {"type": "list", "elements": "str"},
    **_STATE,
}
_SRCPORT = ["srcport_min", "srcport_max"]
_NEIGHBOUR: Options = {"device": {"type": "str"}, "dst": {"type": "str"}, "lladdr": {"type": "str"}, **_STATE}
_FDB: Options = {
    "device": {"type": "str"},
    "mac": {"type": "str"},
    "dst": {"type": "str"},
    "port": {"type": "int"},
    "vni": {"type": "int"},
    **_STATE,
}
_ROUTE: Options = {
    "device": {"type": "str"},
    "dst": {"type": "str"},
    "gateway": {"type": "str"},
    "onlink": {"type": "bool"},
    "src": {"type": "str"},
    "metric": {"type": "int"},
    "table": {"type": "int"},
    **_STATE,
}


def _bulk(
    options: Options, key: str, rules: Optional[Dict[str, Any]] = None, more: Optional[Options] = None
) -> Tuple[Options, Dict[str, Any]]:
    """The spec of a module that takes one entry by plain options, or many by C(entries); C(key) names an entry.

    C(rules) hold within an entry; C(more) are options beside C(entries).
    """
    rules = rules or {}
    entry = {name: dict(spec, required=True) if name == key else spec for name, spec in options.items()}
    return (
        {
            **options,
            "entries": {"type": "list", "elements": "dict", "options": entry, **rules},
            "purge": {"type": "bool"},
            **(more or {}),
        },
        {
            **rules,
            "mutually_exclusive": [[key, "entries"], *rules.get("mutually_exclusive", [])],
            "required_one_of": [[key, "entries"]],
            "required_by": {"purge": ["entries"]},
        },
    )


SPECS: Dict[str, Tuple[Options, Dict[str, Any]]] = {
    "vxlan_link": _bulk(_LINK, "name", {"mutually_exclusive": [["remote", "group"]], "required_together": [_SRCPORT]}),
    "neigh_entry": _bulk(_NEIGHBOUR, "dst"),
    "fdb_entry": _bulk(_FDB, "mac", more={"keep_unicast": {"type": "bool"}}),
    "route_entry": _bulk(_ROUTE, "dst"),
    "docker_bip": (
        {
            "bip": {"type": "str"},
            "bip6": {"type": "str"},
            "mtu": {"type": "int"},
            "ip_masq": {"type": "bool"},
            "allow_renumber": {"type": "bool", "default": False},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        {"required_if": [("state", "present", ["bip"])]},
    ),
    "firewall": (
        {
            "network": {"type": "str", "required": True},
            "cidrs": {"type": "list", "elements": "str"},
            "leases": {"type": "list", "elements": "str"},
            "devices": {"type": "list", "elements": "str"},
            "bridge": {"type": "str", "default": "docker0"},
            "vxlan": {
                "type": "list",
                "elements": "dict",
                "options": {"vni": {"type": "int", "required": True}, "port": {"type": "int", "default": 4789}},
            },
            "vteps": {"type": "list", "elements": "str"},
            "publish": {
                "type": "list",
                "elements": "dict",
                "options": {"port": {"type": "int", "required": True}, "to": {"type": "str", "required": True}},
            },
        },
        {"required_by": {"leases": ["cidrs", "devices"], "vxlan": ["vteps"], "publish": ["cidrs"]}},
    ),
    "managers": (
        {
            "devices": {"type": "list", "elements": "str", "required": True},
            "bridges": {"type": "list", "elements": "str"},
            "ports": {"type": "list", "elements": "int", "required": True},
        },
        {},
    ),
    "bridge": (
        {
            "name": {"type": "str", "required": True},
            "mac": {"type": "str"},
            "mtu": {"type": "int"},
            "alias": {"type": "str"},
            "addresses": {"type": "list", "elements": "str"},
        },
        {},
    ),
    "sandbox": (
        {
            "name": {"type": "str", "required": True},
            "network": {"type": "str", "required": True},
            "bridge": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "gateway": {"type": "str", "required": True},
            "mtu": {"type": "int", "default": 1500},
        },
        {},
    ),
    "units": (
        {
            "name": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "enabled": {"type": "bool", "default": True},
        },
        {},
    ),
    "boot": ({"sections": {"type": "dict"}}, {}),
    "docker_network": (
        {
            "name": {"type": "str", "required": True},
            "network": {"type": "str", "required": True},
            "subnets": {"type": "list", "elements": "str", "required": True},
            "gateways": {"type": "list", "elements": "str", "required": True},
            "ip_ranges": {"type": "list", "elements": "str"},
            "bridge": {"type": "str", "required": True},
            "devices": {"type": "list", "elements": "str", "default": []},
            "via": {"type": "list", "elements": "str", "default": []},
            "mtu": {"type": "int", "required": True},
            "masquerade": {"type": "bool", "default": False},
        },
        {},
    ),
    "files": (
        {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "mode": {"type": "str", "default": "0644"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        {},
    ),
    "sysctl": ({"name": {"type": "str", "required": True}, "value": {"type": "str", "required": True}}, {}),
}
HOST_SPEC: Options = {
    **{section: {"type": "list", "elements": "dict"} for section in SPECS},
    "allow_drops": {"type": "bool", "default": True},
}


def validate(section: str, item: Mapping[str, Any], number: int) -> Tuple[Optional[Dict[str, Any]], List[str]]:
    """Check one item of an overlay_host section against the options of the module it is named after."""
    spec, rules = SPECS[section]
    outcome = ArgumentSpecValidator(spec, **rules).validate(dict(item))
    errors = ["%s, item %d: %s" % (section, number, message) for message in outcome.error_messages]
    return (None if errors else outcome.validated_parameters), errors


def resource_module(section: str) -> None:
    """Run a module that manages one resource."""
    spec, rules = SPECS[section]
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **rules)
    _run(module, {section: [module.params]})


def host_module() -> None:
    """Run overlay_host: all sections in one transaction."""
    module = AnsibleModule(argument_spec=HOST_SPEC, supports_check_mode=True)
    allow_drops = module.params.pop("allow_drops")
    sections, problems = _validated(module.params)
    for number, part in enumerate(sections.get("boot", ()), 1):
        if part["sections"] is not None:
            # Where each module is a task of its own, this call sees none of the other sections.
            part["sections"], errors = _validated(part["sections"])
            problems += ["boot, item %d: sections: %s" % (number, error) for error in errors]
    if problems:
        module.fail_json(msg="Options are wrong; nothing was changed:\n" + "\n".join(problems))
    _run(module, sections, allow_drops)


def _validated(options: Mapping[str, Any]) -> Tuple[Dict[str, List[Dict[str, Any]]], List[str]]:
    """The sections that are given, checked, and what is wrong with them."""
    sections: Dict[str, List[Dict[str, Any]]] = {}
    problems = ["there is no section %s" % name for name in sorted(set(options) - set(SPECS))]
    for section in SPECS:
        if options.get(section) is None:
            continue
        sections[section] = []
        for number, item in enumerate(options[section], 1):
            validated, errors = validate(section, item, number)
            problems += errors
            if validated is not None:
                sections[section].append(validated)
    return sections, problems


def _run(module: AnsibleModule, sections: Mapping[str, Sequence[Mapping[str, Any]]], allow_drops: bool = True) -> None:
    if _netlink.PYROUTE2_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("pyroute2 (Debian, Ubuntu, Fedora: python3-pyroute2; pip: pyroute2)"),
            exception=_netlink.PYROUTE2_IMPORT_ERROR,
        )
    # What programs say is read: not in the language of whoever is logged in.
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    host = Host(run=lambda args, stdin: module.run_command(args, data=stdin, handle_exceptions=False))
    try:
        if module.check_mode:
            transaction = _transaction.prepare(host, _transaction.parse(sections))
            answer = _transaction.result(transaction, host)
            _refuse_drops(answer, allow_drops)
        else:
            with host_lock():
                transaction = _transaction.prepare(host, _transaction.parse(sections))
                answer = _transaction.result(transaction, host)
                _refuse_drops(answer, allow_drops)
                _transaction.apply(host, transaction)
                answer["counters"] = _transaction.costs(host)
    except OverlayError as error:
        module.fail_json(msg=str(error))
    except _netlink.NetlinkError as error:
        module.fail_json(msg="%s: the kernel refused a request: %s" % (host.session.account, error))
    except OSError as error:
        module.fail_json(msg="%s: cannot be read: %s" % (host.session.account, error))
    finally:
        host.session.close()
    answer.update(host.facts)
    module.exit_json(**answer)


def _refuse_drops(answer: Mapping[str, Any], allow_drops: bool) -> None:
    if answer["impact"] and not allow_drops:
        lines = ["%(operation)s: drops %(drops)s, until %(until)s" % impact for impact in answer["impact"]]
        raise OverlayError(
            "Packets would be dropped, and allow_drops is false (variable overlay_allow_drops). Nothing was changed.\n%s"
            % "\n".join(lines)
        )
