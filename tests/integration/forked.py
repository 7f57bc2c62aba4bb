# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our modules, with all that they import, imported once and forked for each call in a bare namespace.

Hundreds of tests make a dozen of these calls each, and nine tenths of one are imports. A line of JSON on standard input is a
call, {"net", "name", "file", "env", "out", "err"}; a line on standard output is its exit code. Calls on lab hosts, and those
behind a command, import for themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

_PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
_PACKAGE = "ansible_collections.agentless.overlay.plugins"
_CLONE_NEWNET = 0x40000000


def child(net: str, name: str, file: str, env: dict[str, str], out: str, err: str) -> int:
    """Be the module, as C(nsenter --net=NET python -m NAME FILE) would be."""
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        handle = os.open(path, flags)
        os.dup2(handle, number)
        os.close(handle)
    handle = os.open(net, os.O_RDONLY)
    # Python has it from 3.12 on.
    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), net)
    os.close(handle)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [name, file]
    try:
        runpy.run_module(f"{_PACKAGE}.modules.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def main() -> None:
    for path in sorted((_PLUGINS / "module_utils").rglob("*.py")):
        name = ".".join(path.relative_to(_PLUGINS).with_suffix("").parts)
        # What a version of pyroute2 does not have is a module's to say.
        with contextlib.suppress(ImportError):
            importlib.import_module(f"{_PACKAGE}.{name.removesuffix('.__init__')}")
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 250
            try:
                code = child(**json.loads(line))
            except BaseException:
                traceback.print_exc()
            # As at the end of Python, but for what is only the parent's.
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
