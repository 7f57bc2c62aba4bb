# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a program is run, the same everywhere. PRIVATE to the collection."""

from __future__ import annotations

import os
import subprocess
from typing import Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

# How long one may take, in seconds. One that hangs would hold the host's lock, and the run, for ever.
_LIMIT = 120


def run_program(args: Sequence[str], stdin: Optional[str]) -> Tuple[int, str, str]:
    """Exit code, output and error output; the module's own run_command takes thrice as long, and five are run each time."""
    # What programs say is read: not in the language of whoever is logged in.
    env = {**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}
    try:
        done = subprocess.run(
            args,
            input=stdin or "",
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=env,
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise OverlayError("%s: no end after %d s, and was ended" % (" ".join(args), _LIMIT)) from error
    return done.returncode, done.stdout, done.stderr
