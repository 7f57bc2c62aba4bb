# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share: their options, and the one way to run the engine. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import gc
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.agentless.overlay.plugins.module_utils import _imports
from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _apply, _drift, _netlink, _transaction
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._lock import hold_host_lock
from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Options, OverlayError, Sections
from ansible_collections.agentless.overlay.plugins.module_utils._looking._targets import TARGET
from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION, ORDER

SPECS: Dict[str, Tuple[Options, Mapping[str, Any]]] = {
    section: (resource.options or {}, resource.rules) for section, resource in BY_SECTION.items()
}
HOST_SPEC: Options = {
    **{section: {"type": "list", "elements": "dict"} for section in SPECS},
    "allow_drops": {"type": "bool", "default": True},
    "tell": {"type": "bool", "default": False},
    "looks": {"type": "bool", "default": False},
    "networks": {
        "type": "dict",
        "options": {
            "known": {"type": "list", "elements": "str", "required": True},
            "remove": {"type": "list", "elements": "str", "default": []},
        },
    },
    "probe": {
        "type": "dict",
        "options": {
            "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
            "networks": {"type": "list", "elements": "str", "default": []},
        },
    },
}


def validate_item(section: str, item: Mapping[str, Any], number: int) -> Tuple[Optional[Dict[str, Any]], List[str]]:
    """Check one item of an overlay_host section against the options of the module it is named after."""
    spec, rules = SPECS[section]
    entries = item.get("entries") if _is_item_exact(section, item) else None
    # Thousands of entries in which nothing can be wrong need not be copied and walked through ten times.
    given = dict(item) if entries is None else dict(item, entries=[])
    outcome = ArgumentSpecValidator(spec, **rules).validate(given)
    if entries is not None:
        outcome.validated_parameters["entries"] = entries
    errors = ["%s, item %d: %s" % (section, number, message) for message in outcome.error_messages]
    return (None if errors else outcome.validated_parameters), errors


_TYPES = {"str": str, "int": int, "bool": bool}


def _is_item_exact(section: str, item: Mapping[str, Any]) -> bool:
    """Whether all entries of an item have known options only, each of just the type that it is to have."""
    entries, suboptions = item.get("entries"), SPECS[section][0].get("entries", {})
    if not isinstance(entries, list) or any(spec["type"] not in _TYPES for spec in suboptions.get("options", {}).values()):
        return False
    required = {name for name, spec in suboptions["options"].items() if spec.get("required")}
    types = {name: _TYPES[spec["type"]] for name, spec in suboptions["options"].items() if "choices" not in spec}
    return all(_is_entry_exact(entry, required, types) for entry in entries)


def _is_entry_exact(entry: Any, required: Set[str], types: Mapping[str, Any]) -> bool:
    if not isinstance(entry, dict) or not required <= entry.keys():
        return False
    # In lists, not generators: thousands come here.
    return False not in [types.get(name) is value.__class__ for name, value in entry.items()]


def run_resource_module(section: str) -> None:
    """Run a module that manages one resource."""
    spec, rules = SPECS[section]
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **rules)
    _run_engine(module, {section: [module.params]})


def run_host_module() -> None:
    """Run overlay_host: all sections in one transaction."""
    module = AnsibleModule(argument_spec=HOST_SPEC, supports_check_mode=True)
    options = dict(module.params)
    names = ("allow_drops", "probe", "networks", "tell", "looks")
    allow_drops, asked, networks, tell, looks = (options.pop(name) for name in names)
    known = None if networks is None else {*networks["known"], *networks["remove"]}
    try:
        sections = validate_sections(options)
    except OverlayError as error:
        module.fail_json(msg=str(error))
    _run_engine(module, sections, allow_drops, True, asked, known, tell, looks)


def validate_sections(options: Mapping[str, Any]) -> Dict[str, List[Dict[str, Any]]]:
    """The sections of overlay_host that are given, checked; raises OverlayError with all that is wrong with them."""
    sections, problems = _check_sections(options)
    for number, part in enumerate(sections.get("boot", ()), 1):
        if part["sections"] is not None:
            # Where each module is a task of its own, this call sees none of the other sections.
            part["sections"], errors = _check_sections(part["sections"])
            problems += ["boot, item %d: sections: %s" % (number, error) for error in errors]
    if problems:
        raise OverlayError("Options are wrong; nothing was changed:\n" + "\n".join(problems))
    return sections


def _check_sections(options: Mapping[str, Any]) -> Tuple[Dict[str, List[Dict[str, Any]]], List[str]]:
    """The sections that are given, checked, and what is wrong with them."""
    sections: Dict[str, List[Dict[str, Any]]] = {}
    problems = ["there is no section %s" % name for name in sorted(set(options) - set(SPECS))]
    for section in SPECS:
        if options.get(section) is None:
            continue
        sections[section] = []
        for number, item in enumerate(options[section], 1):
            checked, errors = validate_item(section, item, number)
            problems += errors
            if checked is not None:
                sections[section].append(checked)
    return sections, problems


@contextlib.contextmanager
def _suspend_collector() -> Iterator[None]:
    """Without Python's search for cycles, which looks through all entries again and again and finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def converge(
    host: Host,
    sections: Sections,
    check: bool = False,
    allow_drops: bool = True,
    whole: bool = False,
    known: Optional[Collection[str]] = None,
    tell: bool = False,
) -> Dict[str, Any]:
    """The engine: make the host what validated sections say, or only tell what that would do; the module's answer.

    Raises OverlayError, NetlinkError and OSError; the host is then as it was.

    @param known: the overlay networks whose things on the host may change; without it those of all
    @param tell: in check mode, to report what stands in the way as a difference, and not to refuse
    """
    with _suspend_collector(), contextlib.nullcontext() if check else hold_host_lock():
        specs = _transaction.parse_host_specs(host, ORDER, sections)
        transaction = _transaction.prepare(host, ORDER, specs, known, tell and check)
        answer = _transaction.make_result(transaction, host)
        _refuse_drops(answer, allow_drops)
        if not check:
            _apply.apply_transaction(host, transaction)
            answer["counters"] = _transaction.count_costs(host)
            if not any(spec.present for spec in specs.values()):
                _imports.forget_compiled()
        answer.update(host.facts)
        # Which Ansible shows to whoever runs it.
        warnings = [fact["warning"] for fact in host.facts.values() if "warning" in fact]
        answer.update({"warnings": warnings} if warnings else {})
        if whole:
            answer["drift"] = _drift.list_differences(transaction, host)
            answer["certificate"] = _drift.make_certificate(sections, answer["drift"])
    return answer


def _run_engine(
    module: AnsibleModule,
    sections: Sections,
    allow_drops: bool = True,
    whole: bool = False,
    asked: Optional[Mapping[str, Any]] = None,
    known: Optional[Collection[str]] = None,
    tell: bool = False,
    looks: bool = False,
) -> None:
    if _netlink.PYROUTE2_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("pyroute2 (Debian, Ubuntu, Fedora: python3-pyroute2; pip: pyroute2)"),
            exception=_netlink.PYROUTE2_IMPORT_ERROR,
        )
    host = Host(run=run_program)
    try:
        answer = converge(host, sections, module.check_mode, allow_drops, whole, known, tell)
    except OverlayError as error:
        module.fail_json(msg=str(error))
    except _netlink.NetlinkError as error:
        module.fail_json(msg="%s: the kernel refused a request: %s" % (host.session.account, error))
    except OSError as error:
        module.fail_json(msg="%s: cannot be read: %s" % (host.session.account, error))
    finally:
        host.session.close()
    if asked is not None and not answer["changed"] and not (answer.get("docker_bip") or {}).get("restart_required"):
        answer.update(_probe_targets_of(asked))
    if looks or not module.check_mode:
        _imports.keep_compiled()
    # Thousands of peers need not come back with each answer.
    module.exit_json(invocation={"module_args": _abridge_options(module.params)}, **answer)


def _probe_targets_of(asked: Mapping[str, Any]) -> Dict[str, Any]:
    """What overlay_probe would find; nothing where it would fail, which it can then say itself."""
    # Only where it is asked for.
    from ansible_collections.agentless.overlay.plugins.module_utils._looking import _probe

    try:
        found = _probe.find_sources(asked["networks"], _docker_api.SOCKET)
        probes = _probe.ping_targets(asked["targets"], found)
    except (OverlayError, OSError):
        return {}
    missing = [one for one in probes if not one["ok"]]
    return {"probe": {"containers": found.containers, "answered": len(probes) - len(missing), "missing": missing}}


def _abridge_options(options: Any) -> Any:
    """Options as they were given, with the number of entries for the entries."""
    if isinstance(options, dict):
        return {
            name: "%d of them" % len(value) if name in ("entries", "targets") and value else _abridge_options(value)
            for name, value in options.items()
            if value is not None
        }
    return [_abridge_options(item) for item in options] if isinstance(options, list) else options


def _refuse_drops(answer: Mapping[str, Any], allow_drops: bool) -> None:
    if answer["impact"] and not allow_drops:
        lines = ["%(operation)s: drops %(drops)s, until %(until)s" % impact for impact in answer["impact"]]
        raise OverlayError(
            "Packets would be dropped, and allow_drops is false (variable overlay_allow_drops). Nothing was changed.\n%s"
            % "\n".join(lines)
        )
