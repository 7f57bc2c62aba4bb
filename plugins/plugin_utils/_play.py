# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that a play gives, as import_playbook does with vars: no host's variables tell of them. PRIVATE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.agentless.overlay.plugins.plugin_utils import _inventory
from ansible_collections.agentless.overlay.plugins.plugin_utils._inventory import HostValues
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import options
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import describe_value
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import PlanError

# Who has such a variable, in messages; and what stands for a value that cannot be told yet.
_PLAY = "the play"
_UNKNOWN = object()


def is_of_play(variable: str, variables: Mapping[str, Any], hostvars: Mapping[str, HostValues]) -> bool:
    """Whether the play gives a variable, or gives it otherwise than the hosts have it, of which no other play knows."""
    own = hostvars.get(variables.get("inventory_hostname", ""))
    if variable not in variables or own is None:
        return variable in variables and not any(variable in values.list_names() for values in hostvars.values())
    return own.is_other(variable, variables[variable]) and (
        variable in own.list_names() or not any(variable in values.list_names() for values in hostvars.values())
    )


def check_play(
    specs: Mapping[str, Mapping[str, Any]],
    roles: Iterable[str],
    variables: Mapping[str, Any],
    hostvars: Mapping[str, HostValues],
    template: Callable[[Any], Any],
    accepts: Callable[[str, Mapping[str, Any], Any], bool],
) -> list[PlanError]:
    """What is wrong with the variables of roles that the play gives, and those that are misspelt.

    @param specs: of each role what its meta/argument_specs.yml holds
    @param roles: those whose values are looked at; misspelt is what none of all has
    """
    known = options.list_options({role: specs[role] for role in roles})
    names = [name for name in variables if name.startswith(options.PREFIX) and is_of_play(name, variables, hostvars)]
    errors = []
    for name in names:
        # Those of the plan itself may not be the play's at all.
        if name not in known or known[name].role == "plan":
            continue
        value = _work_out(variables[name], template)
        problem = "" if value is _UNKNOWN else options.check_value(name, known[name], value, accepts)
        if problem:
            shown = "null" if value is None else describe_value(value)
            errors.append(PlanError(_PLAY, name, shown, problem, known[name].remedy))
    own = options.list_own_names(_work_out(variables.get(options.OWN, []), template))
    misspelt, _others = options.find_misspelt(
        {_PLAY: names},
        options.list_options(specs),
        own,
        lambda _play, name: describe_value(_inventory.strip_tags(variables[name], vaulted=_inventory.VAULTED)),
    )
    return errors + misspelt


def _work_out(value: Any, template: Callable[[Any], Any]) -> Any:
    """A value of the play; what cannot be told yet is unknown."""
    try:
        found = _inventory.strip_tags(template(value))
    except AnsibleError:
        return _UNKNOWN
    return _UNKNOWN if _inventory.holds_template(found) else found
