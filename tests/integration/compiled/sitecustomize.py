# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what Python compiles out of the archives that Ansible sends with each call, where a folder for it is given.

Two thirds of the processor time of the suite are calls on lab hosts, and a quarter of a call is compiling the same files again.
Only where lab hosts are called in namespaces: the booted machines, over SSH, compile theirs as users' hosts do.
"""

import gc
import hashlib
import marshal
import os
import sys
import zipimport

FOLDER = os.environ.get("OVERLAY_TESTS_COMPILED")
_compile = zipimport._compile_source  # type: ignore[attr-defined]


def _kept(path, source):  # type: ignore[no-untyped-def]
    name = hashlib.sha256(source).hexdigest()
    file = os.path.join(FOLDER, f"{sys.implementation.cache_tag}-{name}")
    try:
        with open(file, "rb") as handle:
            # At once: marshal asks a file for a few bytes at a time.
            return marshal.loads(handle.read())
    except OSError:
        code = _compile(path, source)
        # Not by process id: lab hosts have process ids of their own, and write at the same time.
        new = f"{file}.{os.urandom(8).hex()}"
        with open(new, "wb") as handle:
            marshal.dump(code, handle)
        os.replace(new, file)
        return code


if FOLDER:
    # A call ends before it has much to free.
    gc.set_threshold(100_000)
    zipimport._compile_source = _kept  # type: ignore[attr-defined]
