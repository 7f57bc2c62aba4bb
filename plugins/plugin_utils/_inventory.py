# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of hosts as Ansible has them, read as plain values. PRIVATE to the collection.

A template that names what is not there, and a vaulted value that cannot be decrypted, are errors of the inventory like any
other, told by host and variable. What is vaulted is never told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any

from ansible.errors import AnsibleError
from jinja2 import Environment, TemplateError, nodes

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    NETADDR_IMPORT_ERROR,
    AddrFormatError,
    IPNetwork,
    PlanError,
)

VAULTED = "a vaulted value"
_PARSER = Environment()
# Names in templates that Ansible gives itself.
_GIVEN = {"groups", "hostvars", "lookup", "now", "omit", "q", "query", "range", "undef", "vars"}


class HostValues:
    """A host's variables, put together once: Ansible does it each time that it is asked for one.

    What holds no template is not sent through its engine, which takes longer than all else that is done for a host.

    @param errors: where what is wrong with a template is noted
    """

    def __init__(self, hostvars: Any, name: str, errors: list[PlanError]) -> None:
        self._hostvars, self._name, self._errors = hostvars, name, errors
        self._raw: Mapping[str, Any] = hostvars.raw_get(name)

    def list_names(self) -> KeysView[str]:
        """The names of all."""
        return self._raw.keys()

    def get(self, variable: str, default: Any = None) -> Any:
        """One, or what is given for one that there is not."""
        return self[variable] if variable in self._raw else default

    def __getitem__(self, variable: str) -> Any:
        """A value; where a template in it cannot be worked out, its text, and the error is noted."""
        value = self._raw[variable]
        if _is_final(value):
            return value
        try:
            found = strip_tags(self._hostvars[self._name][variable])
        except AnsibleError as error:
            found, why = strip_tags(value, vaulted=VAULTED), str(error)
        else:
            # ansible-core before 2.19 gives the text of a template that it cannot work out.
            why = ""
            if not holds_template(found):
                return found
        self._note(variable, found, why)
        return found

    def _note(self, variable: str, found: Any, why: str) -> None:
        templates = list(filter(is_template, _list_leaves(found)))
        # The first that names what is not there: those beside it may be as they should be.
        text = next((one for one in templates if self._list_missing(one)), templates[0] if templates else VAULTED)
        if text == VAULTED:
            problem, remedy = "it cannot be decrypted", "Give the password that it was encrypted with"
        else:
            problem, remedy = self._explain_template(text, why)
        self._errors.append(PlanError(self._name, variable, text, problem, remedy))

    def _explain_template(self, text: str, why: str) -> tuple[str, str]:
        if self._list_missing_facts(text):
            return "facts of the host are needed for it, and are not known", (
                "Gather them of all hosts in a play before this one, keep them in a fact cache, or write the value down"
            )
        missing = self._list_missing(text)
        if missing:
            return f"{' or '.join(missing)} is not defined", "Define it for the host, or write the value down"
        return f"it cannot be worked out{': ' + _first_line(why) if why else ''}", "Correct it, or write the value down"

    def _list_missing(self, text: str) -> list[str]:
        return [name for name in list_template_names(text) if name not in self._raw]

    def _list_missing_facts(self, text: str) -> list[str]:
        facts = [name for name in list_template_names(text) if name.startswith("ansible_")]
        return [name for name in facts if not self._raw.get(name)]

    def lacks_facts(self, variable: str) -> bool:
        """Whether facts are needed for a value that are not known."""
        return any(is_template(leaf) and self._list_missing_facts(leaf) for leaf in _list_leaves(self._raw.get(variable)))

    def is_other(self, variable: str, value: Any) -> bool:
        """Whether a value, as it was written, is not the host's own."""
        if variable not in self._raw:
            return True
        own = self._raw[variable]
        try:
            return not (value is own or value == own)
        except AnsibleError:
            # Vaulted, without a password; the host's own is told of.
            return False

    def show(self, variable: str) -> str:
        """The value as it was written, for messages."""
        return str(strip_tags(self._raw[variable], vaulted=VAULTED))

    def list_secrets(self, variables: Iterable[str]) -> set[str]:
        """The vaulted values in these variables, and in those that their templates name."""
        found: set[str] = set()
        todo, seen = list(variables), set()
        while todo:
            variable = todo.pop()
            if variable in seen or variable not in self._raw:
                continue
            seen.add(variable)
            for leaf in _list_leaves(self._raw[variable]):
                if _is_vaulted(leaf):
                    found |= _decrypt(leaf)
                elif is_template(leaf):
                    todo += list_template_names(leaf)
        return found


def list_template_names(text: str) -> list[str]:
    """The variables that a template names, in its order."""
    try:
        found = _PARSER.parse(text).find_all(nodes.Name)
    except TemplateError:
        return []
    return list(dict.fromkeys(name.name for name in found if name.ctx == "load" and name.name not in _GIVEN))


def strip_tags(value: Any, vaulted: str = "") -> Any:
    """The value as Python's own types: without what Ansible notes at texts, and decrypted.

    @param vaulted: what stands for a vaulted text in place of what it says
    """
    if isinstance(value, Mapping):
        return {strip_tags(key, vaulted): strip_tags(one, vaulted) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [strip_tags(one, vaulted) for one in value]
    if _is_vaulted(value):
        return vaulted or str(value)
    if isinstance(value, str):
        return str(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without what is vaulted, and without what can be told of it: an address of a network that is."""
    forms: set[str] = set()
    for secret in secrets:
        forms |= {secret, *_list_forms(secret)}
    if not forms:
        return text
    ordered = sorted(filter(None, forms), key=len, reverse=True)
    return re.sub(r"(?<![\w.:])(?:" + "|".join(map(re.escape, ordered)) + r")(?![\w:]|\.\w)", VAULTED, text)


def _list_forms(secret: str) -> Iterator[str]:
    if NETADDR_IMPORT_ERROR is not None:
        return
    try:
        network = IPNetwork(secret)
    except (AddrFormatError, ValueError):
        return
    yield from (str(network), str(network.cidr), str(network.ip), str(network.network), secret.partition("/")[0])


def _decrypt(value: Any) -> set[str]:
    try:
        return {str(value)}
    except AnsibleError:
        return set()


def _is_vaulted(value: Any) -> bool:
    # The former from ansible-core 2.19 on, the latter before.
    return type(value).__name__ == "EncryptedString" or bool(getattr(value, "__ENCRYPTED__", False))


def is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def holds_template(value: Any) -> bool:
    """Whether there is one anywhere in a value."""
    return any(map(is_template, _list_leaves(value)))


def _is_final(value: Any) -> bool:
    if isinstance(value, str):
        return "{" not in value
    if isinstance(value, (list, tuple)):
        return all(map(_is_final, value))
    if isinstance(value, dict):
        return all(map(_is_final, value)) and all(map(_is_final, value.values()))
    return value is None or isinstance(value, (bool, int, float))


def _list_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _list_leaves(key)
            yield from _list_leaves(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _list_leaves(one)
    else:
        yield value


def _first_line(text: str) -> str:
    # Python's own words for a template that names itself are no help, and differ by where it ran out of levels.
    return re.sub(r"(Recursive loop detected in template).*", r"\1", text.strip().splitlines()[0]).rstrip(".")
