# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: netns
short_description: Run tasks on a lab host, inside its name spaces on this machine
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Enters the network, mount, process and host name space of a lab host that C(playbooks/lab.yml) made.
  - Enters the network namespace alone where no process is named.
  - Needs root on the controller, which is the lab's machine.
options:
  netns_name:
    description: The network namespace, as C(ip netns list) shows it.
    type: str
    required: true
    vars:
      - name: overlay_netns_name
  netns_pid_file:
    description:
      - The file with the process id of the lab host's first process.
      - The id is used only while that process is in the network namespace named by O(netns_name).
    type: path
    vars:
      - name: overlay_netns_pid_file
  executable:
    description: The shell that runs the commands.
    type: str
    default: /bin/sh
    vars:
      - name: ansible_executable
"""

import os
import shlex
import subprocess
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_bytes
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

display = Display()


class Connection(ConnectionBase):
    """A lab host."""

    transport = "agentless.overlay.netns"
    has_pipelining = True

    def _connect(self) -> Connection:
        display.vvv(f"ENTER {self.get_option('netns_name')}", host=self.get_option("netns_name"))
        self._connected = True
        return self

    def _prefix(self) -> list[str]:
        if os.geteuid() != 0:
            raise AnsibleConnectionFailure("The lab's hosts are network namespaces: run this as root")
        name = self.get_option("netns_name")
        namespace = f"/run/netns/{name}"
        if not os.path.exists(namespace):
            raise AnsibleConnectionFailure(f"There is no namespace {name}; make the lab first: make lab")
        pid = self._pid(namespace)
        if pid is None:
            return ["nsenter", f"--net={namespace}", "--"]
        return ["nsenter", "--target", str(pid), "--mount", "--uts", "--net", "--pid", "--"]

    def _pid(self, namespace: str) -> int | None:
        path = self.get_option("netns_pid_file")
        if not path or not os.path.exists(path):
            return None
        with open(path, encoding="ascii") as handle:
            pid = int(handle.read())
        try:
            same = os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(namespace).st_ino
        except OSError:
            same = False
        if not same:
            raise AnsibleConnectionFailure(f"The lab host of {path} is not running; make the lab again: make lab-down lab")
        return pid

    def _run(self, command: list[str], stdin: bytes | None) -> tuple[int, bytes, bytes]:
        done = subprocess.run(self._prefix() + command, input=stdin or b"", capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command in the lab host's own file system view."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run([self.get_option("executable"), "-c", cmd], in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the lab host."""
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as handle:
            code, _out, err = self._run(["/bin/sh", "-c", f"cat >{shlex.quote(out_path)}"], handle.read())
        if code:
            raise AnsibleConnectionFailure(f"{out_path} cannot be written: {err.decode(errors='replace')}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the lab host."""
        super().fetch_file(in_path, out_path)
        code, out, err = self._run(["cat", in_path], None)
        if code:
            raise AnsibleConnectionFailure(f"{in_path} cannot be read: {err.decode(errors='replace')}")
        with open(to_bytes(out_path), "wb") as handle:
            handle.write(out)

    def close(self) -> None:
        """Nothing is kept open."""
        self._connected = False

    def reset(self) -> Any:
        """Nothing is kept open."""
        self.close()
