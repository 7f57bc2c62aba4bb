# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab, a bare namespace, and what came out of a playbook or a module."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "roles/lab/files/lab.sh"
BIN = Path(sys.executable).parent
_NUMBERS = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test, worker or lab of this machine has."""
    return f"{prefix}{os.getpid()}x{next(_NUMBERS)}"


def environment(**env: str) -> dict[str, str]:
    """What commands get: this process's own, with messages that can be compared.

    But not PYTHONUNBUFFERED: hosts read their modules from standard input, and a byte at a time is a fifth of a run.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "LC_ALL": "C.UTF-8", **env}


def run(*command: str, check: bool = True, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        input=stdin or "",
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(**env),
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def run_playbook(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook, by the process that has imported it where no setting of Ansible's is in the environment."""
    command = [str(BIN / "ansible-playbook"), *args]
    # Hosts in namespaces get the environment too.
    compiled = ROOT / ".cache/compiled"
    compiled.mkdir(parents=True, exist_ok=True)
    env = {"PYTHONPATH": str(Path(__file__).parent / "compiled"), "OVERLAY_TESTS_COMPILED": str(compiled), **env}
    if any(name.startswith("ANSIBLE_") for name in env):
        return run(*command, check=False, **env)
    return _ask(_warm(), argv=command, env=environment(**env))


@functools.cache
def _warm() -> subprocess.Popen[str]:
    """The process of this one's playbooks; it ends with the pipe to it."""
    return _server("warm.py", **environment())


def _server(program: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).parent / program)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)


def _ask(server: subprocess.Popen[str], **call: Any) -> subprocess.CompletedProcess[str]:
    """Let a process that forks for each call do one."""
    said = functools.partial(tempfile.NamedTemporaryFile, "r", encoding="utf-8")
    assert server.stdin is not None and server.stdout is not None
    with said() as out, said() as err:
        server.stdin.write(json.dumps({**call, "out": out.name, "err": err.name}) + "\n")
        server.stdin.flush()
        return subprocess.CompletedProcess(list(call), int(server.stdout.readline()), out.read(), err.read())


@dataclass
class Played:
    """What a run of a playbook said: its exit code, its recap, and each host's diff by section."""

    code: int
    output: str
    recap: dict[str, dict[str, int]] = field(default_factory=dict)
    diffs: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> Played:
        played = cls(done.returncode, done.stdout + done.stderr)
        for host, text in re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.M):
            played.recap[host] = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", text)}
        pending: dict[str, list[str]] = {}
        section = ""
        for line in done.stdout.splitlines():
            header = re.match(r"--- before: (.*)", line)
            status = re.match(r"(?:changed|ok|failed): \[(\S+)\]", line)
            if header:
                section = header.group(1)
                pending[section] = []
            elif status:
                if pending:
                    played.diffs.setdefault(status.group(1), {}).update(pending)
                pending, section = {}, ""
            elif section and re.match(r"[-+](?![-+]{2} )", line):
                pending[section].append(line)
        return played

    @property
    def text(self) -> str:
        """The output with its line breaks undone: Ansible wraps long messages."""
        return " ".join(self.output.split())

    def changed(self) -> dict[str, int]:
        return {host: counts["changed"] for host, counts in self.recap.items()}


class Lab:
    """Lab hosts, made by the lab's own script, and an inventory written by hand as a user would."""

    networks: list[dict[str, Any]] = [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "port": 4789}]

    boot = "no"

    # For all that write_inventory writes.
    variables: dict[str, Any] = {}

    def __init__(self, inventory: Path, docker: bool = True) -> None:
        self.prefix = unique("aot")
        self.inventory = inventory
        self.docker = docker
        self.hosts: dict[str, dict[str, Any]] = {
            "docker1": {"ansible_host": "192.168.65.3", "overlay_subnet": "10.88.50.0/24"},
            "docker2": {"ansible_host": "192.168.65.4", "overlay_subnet": "10.88.87.0/24"},
        }

    def script(self, *args: str) -> subprocess.CompletedProcess[str]:
        return run(
            "bash", str(LAB), *args, LAB_PREFIX=self.prefix, LAB_DOCKER="yes" if self.docker else "no", LAB_BOOT=self.boot
        )

    def up(self) -> None:
        self.script("up", *(f"{name}={values['ansible_host']}/24" for name, values in self.hosts.items()))
        self.write_inventory()

    def down(self) -> None:
        self.script("down")

    def write_inventory(self, **variables: Any) -> None:
        (self.inventory / "group_vars/overlay").mkdir(parents=True, exist_ok=True)
        hosts = {"all": {"children": {"overlay": {"hosts": self.hosts}}}}
        # In the order given: the order of hosts must not matter, which a test needs to choose.
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
        values = {"overlay_networks": self.networks, **self.connection(), **self.variables, **variables}
        (self.inventory / "group_vars/overlay/main.yml").write_text(yaml.safe_dump(values))

    def connection(self) -> dict[str, Any]:
        """How Ansible reaches the hosts."""
        return {
            "ansible_connection": "agentless.overlay.netns",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "overlay_netns_name": self.prefix + "-{{ inventory_hostname }}",
            "overlay_netns_pid_file": f"/var/lib/agentless-overlay-lab/{self.prefix}/{{{{ inventory_hostname }}}}/pid",
        }

    def play(self, *args: str, playbook: str = "playbooks/overlay.yml", **env: str) -> Played:
        return Played.of(run_playbook(playbook, "-i", str(self.inventory), *args, **env))

    def converge(self, *args: str) -> Played:
        played = self.play(*args)
        assert played.code == 0, played.output
        return played

    def sh(self, host: str, command: str, check: bool = True) -> str:
        """Run a shell command on a lab host, with the machine's own programs."""
        return self.exec(host, "sh", "-c", command, check=check).stdout

    def exec(self, host: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(*self.enter(host), *command, check=check)

    def enter(self, host: str) -> list[str]:
        """What lab.sh exec runs, without the ten processes that it takes to find the host's; it says so where there is none."""
        try:
            pid = int(Path(f"/var/lib/agentless-overlay-lab/{self.prefix}/{host}/pid").read_text())
            there = os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(f"/run/netns/{self.prefix}-{host}"))
        except (OSError, ValueError):
            there = False
        if there:
            return ["nsenter", "--target", str(pid), "--mount", "--uts", "--net", "--pid", "--"]
        return ["env", f"LAB_PREFIX={self.prefix}", "bash", str(LAB), "exec", host]

    def module(
        self,
        host: str,
        module: str,
        check: bool = False,
        wrapper: tuple[str, ...] = (),
        fails: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a module on a lab host; the result is its JSON answer."""
        return run_module((*self.enter(host), *wrapper), module, "current", check, fails, options)

    def json(self, host: str, command: str) -> Any:
        return json.loads(self.sh(host, command) or "[]")

    def popen(self, host: str, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.enter(host), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )

    @contextmanager
    def hears(self, host: str, device: str, *packets: str) -> Iterator[list[str]]:
        """What tcpdump has heard meanwhile on a device: the first packet, or none in ten seconds."""
        said: list[str] = []
        job = self.popen(host, "timeout", "10", "tcpdump", "-n", "-l", "-c", "1", "-i", device, *packets)
        assert job.stdout is not None
        with job:
            # A busy machine takes its time to begin.
            next(line for line in job.stdout if "listening on" in line)
            yield said
            said += job.stdout

    def container(self, host: str, name: str = "c1") -> str:
        """Start a container, where it is not running, and give its address."""
        if self.exec(host, "docker", "container", "inspect", name, check=False).returncode:
            self.sh(host, f"docker run --detach --stop-signal KILL --name {name} overlay-lab sleep 1000000")
        self.sh(host, f"docker start {name}")
        return self.sh(host, "docker container inspect --format '{{.NetworkSettings.IPAddress}}' " + name).strip()

    def serve(self, host: str) -> None:
        """Let the container serve a file, over a port that is not published."""
        self.sh(host, "docker exec -d c1 sh -c 'mkdir -p /tmp/www; echo hello >/tmp/www/x; httpd -p 8080 -h /tmp/www'")

    def fetch(self, host: str, address: str) -> str:
        """What the container gets of it. Not by wget: the static one crashes in the resolver's code."""
        request = "printf 'GET /x HTTP/1.0\\r\\n\\r\\n'"
        return self.sh(host, f"{request} | docker exec -i c1 nc -w 5 {address} 8080")

    def state(self, host: str) -> dict[str, Any]:
        """Everything of the overlay on a host, as programs see it that are not ours; in one call, as it is asked often."""
        asked = {
            "link": "ip -j -d link show dev vxlan.88 2>/dev/null || echo []",
            "address": "ip -4 -o address show dev vxlan.88 2>/dev/null | sed 's/^[0-9]*: //'",
            "neigh": "ip neigh show nud permanent dev vxlan.88 2>/dev/null | sort",
            "fdb": "bridge fdb show dev vxlan.88 2>/dev/null | sort",
            # A bridge without a port says so a moment later.
            "route": "ip route show table main | sed 's/ linkdown//' | sort",
            "nft": "nft -s list table inet agentless_overlay 2>/dev/null",
            "docker-user": "iptables -S DOCKER-USER 2>/dev/null",
            "forward": "sysctl -n net.ipv4.ip_forward",
            "subnet.env": "cat /run/flannel/subnet.env 2>/dev/null",
            "boot": "cat /etc/agentless-overlay/boot.sh 2>/dev/null",
            "daemon.json": "cat /etc/docker/daemon.json 2>/dev/null",
        }
        mark = "=-=-="
        said = self.sh(host, f"; echo {mark}; ".join(asked.values()) + "; true").split(f"{mark}\n")
        found: dict[str, Any] = dict(zip(asked, said, strict=True))
        found["link"] = json.loads(found["link"])
        for item in found["link"]:
            for name in ("ifindex", "stats64", "qdisc"):
                item.pop(name, None)
        for name in ("neigh", "fdb", "route"):
            found[name] = found[name].splitlines()
        return found


class Machines(Lab):
    """Lab hosts that boot: each a Debian release with its own systemd, Docker, Python and pyroute2, reached over SSH."""

    boot = "yes"

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory)
        suites = ("bookworm", "trixie", "forky")
        self.hosts = {suite: {"ansible_host": f"192.168.66.{number}"} for number, suite in enumerate(suites, 3)}
        # Side by side, where one is not there yet.
        builds = [subprocess.Popen(["bash", "tests/rootfs.sh", suite], cwd=ROOT, stdout=subprocess.PIPE) for suite in suites]
        self.roots = dict(zip(suites, [build.communicate()[0].decode().strip() for build in builds], strict=True))
        assert all(self.roots.values())

    def up(self, *names: str) -> None:
        hosts = {name: self.hosts[name] for name in names or self.hosts}
        self.script("up", *(f"{name}={values['ansible_host']}/24@{self.roots[name]}" for name, values in hosts.items()))
        if not names:
            self.write_inventory()

    def connection(self) -> dict[str, Any]:
        folder = f"/var/lib/agentless-overlay-lab/{self.prefix}"
        return {
            "ansible_user": "deploy",
            "ansible_become": True,
            # The machines' keys are new each time; mitogen asks here, and not in the arguments below.
            "ansible_host_key_checking": False,
            "ansible_ssh_private_key_file": f"{folder}/id",
            "ansible_control_path_dir": f"{self.inventory.parent}/cp{os.getpid()}",
            # The underlay is in a namespace of its own: the operator's machine has no address on it.
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=20s -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ServerAliveInterval=2 -o ServerAliveCountMax=3 "
            f"-o ProxyCommand='ip netns exec {self.prefix}-underlay busybox nc %h %p'",
        }

    def pairs(self, network: str = "bridge", name: str = "c1", seconds: float = 0) -> list[str]:
        """What does not work between the containers of all ordered pairs of hosts; tried again for so many seconds.

        A full-size ping that may not be fragmented, and TCP to a port that is published and to one that is not.
        """
        addresses = {host: self.address(host, network, name) for host in self.hosts}
        deadline = time.monotonic() + seconds
        while True:
            jobs = {
                (host, far): self.popen(
                    host,
                    "sh",
                    "-c",
                    f"pid=$(docker container inspect -f '{{{{.State.Pid}}}}' {name}); "
                    f"nsenter -t $pid -n ping -c 1 -W 2 -M do -s 1422 {addresses[far]} >/dev/null || echo ping; "
                    f"for port in 8080 8081; do printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | "
                    f"docker exec -i {name} nc -w 2 {addresses[far]} $port | grep -q hello || echo port $port; done",
                )
                for host in self.hosts
                for far in self.hosts
                if host != far
            }
            failed = [f"{pair}: {said}" for pair, job in jobs.items() if (said := job.communicate()[0].split("\n")) != [""]]
            if not failed or time.monotonic() > deadline:
                return failed
            time.sleep(0.2)

    def address(self, host: str, network: str = "bridge", name: str = "c1") -> str:
        template = '{{(index .NetworkSettings.Networks "%s").IPAddress}}' % network
        return self.exec(host, "docker", "container", "inspect", "-f", template, name).stdout.strip()

    def run_container(self, host: str, name: str = "c1", network: str = "bridge", publish: int = 8081) -> None:
        """A container that is back after a reboot, and serves a file on a port that is published and on one that is not."""
        serve = "mkdir -p /www; echo hello >/www/x; httpd -p 8080 -h /www; exec httpd -f -p 8081 -h /www"
        self.exec(
            host,
            *("docker", "run", "--detach", "--name", name, "--network", network, "--restart", "unless-stopped"),
            *("--stop-signal", "KILL", "--publish", f"{publish}:8081", "overlay-lab", "sh", "-c", serve),
        )


@dataclass
class Net:
    """The lab after the first run, with a container on each host."""

    lab: Lab
    addresses: dict[str, str]
    golden: dict[str, dict[str, Any]] = field(default_factory=dict)


def module_paths(pyroute2: str) -> list[str]:
    """Where Python finds our modules, and the version of pyroute2 that was asked for."""
    return [str(ROOT / ".collections")] + ([str(ROOT / f".cache/pyroute2-{pyroute2}")] if pyroute2 != "current" else [])


def _python(pyroute2: str) -> dict[str, str]:
    """The environment of our modules."""
    # Compiled once for all, whatever Python is told to do on this machine, and not beside what is built and linted.
    env = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(ROOT / ".cache/bytecode")}
    if sys.version_info < (3, 12):
        # pyroute2 0.5.14 asks for distutils: Python's own, as on the hosts that have it, which is there sooner.
        env["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
    return environment(PYTHONPATH=":".join(module_paths(pyroute2)), **env)


@functools.cache
def _forked(pyroute2: str, _thread: int) -> subprocess.Popen[str]:
    """The process of this one's modules with a version of pyroute2; it ends with the pipe to it."""
    return _server("forked.py", **_python(pyroute2))


def run_module(
    enter: tuple[str, ...],
    module: str,
    pyroute2: str,
    check: bool,
    fails: bool,
    options: dict[str, Any],
    net: str | None = None,
) -> dict[str, Any]:
    """Run a module behind the command `enter`, as Ansible runs it: as a process with JSON for arguments.

    @param net: a network namespace in place of a command; the process is one that has imported it
    """
    arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as handle:
        json.dump(arguments, handle)
        handle.flush()
        if net is not None:
            call = {"net": f"/run/netns/{net}", "name": module, "file": handle.name, "env": _python(pyroute2)}
            done = _ask(_forked(pyroute2, threading.get_ident()), **call)
        else:
            name = f"ansible_collections.agentless.overlay.plugins.modules.{module}"
            done = run(*enter, sys.executable, "-m", name, handle.name, check=False, **_python(pyroute2))
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{module}: {done.stdout}\n{done.stderr}") from None
    assert bool(answer.get("failed")) is fails, answer.get("msg") or str(answer)[:3000]
    answer.pop("invocation", None)
    return answer


class Namespace:
    """A network namespace, and our modules run in it."""

    def __init__(self) -> None:
        self.name = unique("aon")
        run("ip", "netns", "add", self.name)
        self.sh("ip link set lo up")

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)
        # Those that a test made inside, which are the machine's to list: of a test that failed.
        for name in run("ip", "netns", "list").stdout.split():
            if name.startswith(self.name + "-"):
                run("ip", "netns", "del", name)

    def sh(self, command: str, check: bool = True) -> str:
        return run("nsenter", f"--net=/run/netns/{self.name}", "sh", "-c", command, check=check).stdout

    def shell(self, script: str) -> None:
        """Run a whole script, which comes by standard input: it may be longer than an argument can be."""
        run("nsenter", f"--net=/run/netns/{self.name}", "sh", stdin=script)

    def json(self, command: str) -> Any:
        return json.loads(self.sh(command) or "[]")

    def module(
        self,
        module: str,
        pyroute2: str = "current",
        check: bool = False,
        wrapper: tuple[str, ...] = (),
        fails: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a module; the result is its JSON answer."""
        enter = ("nsenter", f"--net=/run/netns/{self.name}", *wrapper)
        return run_module(enter, module, pyroute2, check, fails, options, None if wrapper else self.name)

    def converge(self, module: str, pyroute2: str = "current", **options: Any) -> dict[str, Any]:
        """Check, run, run again: the check predicts the run, the second run changes nothing."""
        predicted = self.module(module, pyroute2, check=True, **options)
        done = self.module(module, pyroute2, **options)
        again = self.module(module, pyroute2, **options)
        for key in ("changed", "operations", "diff"):
            assert predicted[key] == done[key], key
        assert not again["changed"] and again["operations"] == [], again["operations"]
        assert not any(counter["messages"] for counter in again["counters"].values())
        return done


def failing(folder: Path, program: str, when: str) -> tuple[str, ...]:
    """A command before the module that puts a program first in PATH, which fails with some arguments."""
    real = shutil.which(program)
    (folder / program).write_text(
        f'#!/bin/sh\ncase " $* " in *"{when}"*) echo "{program}: no space left" >&2; exit 1;; esac\nexec {real} "$@"\n'
    )
    (folder / program).chmod(0o755)
    return ("env", f"PATH={folder}:{os.environ['PATH']}")


def mitogen() -> dict[str, str]:
    """The environment of a run by mitogen's strategy."""
    spec = importlib.util.find_spec("ansible_mitogen")
    assert spec is not None and spec.origin is not None, "mitogen is not installed"
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(spec.origin).parent / "plugins/strategy"),
    }


def lines(answer: dict[str, Any], section: str) -> list[str]:
    """A section of a module's diff as lines with - and +."""
    for diff in answer["diff"]:
        if diff["before_header"] == section:
            before, after = diff["before"].splitlines(), diff["after"].splitlines()
            return [f"-{line}" for line in before] + [f"+{line}" for line in after]
    return []
