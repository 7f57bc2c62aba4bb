# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that ran before Docker was restarted, started again. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

# How long one may take to start; in seconds.
_START = 120


def start_again(names: Sequence[str], paused: Sequence[str], socket: str, check: bool) -> Dict[str, Any]:
    """Start those of the named containers that do not run, and pause those of them that were paused.

    @return: what was started and paused, and by name what could not be, with what Docker says
    """
    listed = _docker_api.call_api("/containers/json?all=1", socket)
    if listed is None:
        raise OverlayError("docker: dockerd is not running; start it, and run again")
    states = {_docker_api.find_container_name(item): item["State"] for item in listed}
    failed = {name: "there is no such container any more" for name in names if name not in states}
    waiting = [name for name in names if name in states and states[name] not in ("running", "paused", "restarting")]

    def act(name: str, action: str) -> None:
        if not check:
            _docker_api.call_api("/containers/%s/%s" % (name, action), socket, "POST", seconds=_START)

    started, refused = repeat_for_each(waiting, lambda name: act(name, "start"))
    failed.update(refused)
    stopped = []
    for name in paused:
        if name in failed or name not in states or states[name] == "paused":
            continue
        try:
            act(name, "pause")
            stopped.append(name)
        except OverlayError as error:
            failed[name] = "it runs and was paused before: %s" % error
    return {"started": started, "paused": stopped, "failed": failed}


def repeat_for_each(names: Sequence[str], act: Callable[[str], None]) -> Tuple[List[str], Dict[str, str]]:
    """Do something to each of several that may need each other, until no more of them succeeds; each by itself.

    @return: in which order they did, and why the others did not
    """
    done: List[str] = []
    waiting = list(names)
    while True:
        refused: Dict[str, str] = {}
        for name in waiting:
            try:
                act(name)
                done.append(name)
            except OverlayError as error:
                refused[name] = str(error)
        if not refused or len(refused) == len(waiting):
            return done, refused
        waiting = list(refused)
