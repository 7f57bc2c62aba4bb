# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-playbook, imported once and forked for each run.

The suite has some 900 runs, and a third of the processor time of a small one is Ansible's imports. A line of JSON on
standard input is a run, {"argv", "env", "out", "err"}; a line on standard output is its exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

from ansible.cli import playbook
from ansible.plugins import loader as loaders

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


def child(argv: list[str], env: dict[str, str], out: str, err: str) -> int:
    """Be ansible-playbook."""
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        handle = os.open(path, flags)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    try:
        playbook.main(argv)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def main() -> None:
    loaders.init_plugin_loader()
    # Each run does that for itself and is told that it is done.
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    import ansible_collections.ansible.builtin  # noqa: F401

    # Or the worker of each task compiles what it needs of them.
    for path in sorted(PLUGINS.glob("*/*.py")):
        if path.parent.name in ("action", "callback", "connection", "filter"):
            importlib.import_module(f"ansible_collections.agentless.overlay.plugins.{path.parent.name}.{path.stem}")

    # As a run begins, for their options, which are then known.
    for loader in (loaders.become_loader, loaders.callback_loader, loaders.connection_loader, loaders.shell_loader):
        list(loader.all(class_only=True))

    # What is there now is not looked through, and so not copied, in each child, which ends before it has much to free.
    gc.freeze()
    gc.set_threshold(100_000)

    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 250
            try:
                code = child(**json.loads(line))
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            # Not the end of Python: Ansible's folder for temporary files is the parent's to remove.
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, flush=True)


if __name__ == "__main__":
    main()
