# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarts of Docker: what runs before runs afterwards, and a Docker that cannot start is not left down. Told in order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from labs import Lab, Played

ALWAYS = ("-e", "overlay_docker_restart=always", "-e", "overlay_allow_renumber=true")
SLEEP = "overlay-lab sleep 1000000"
RUN = "docker run --detach --stop-signal KILL"
TEARDOWN = "playbooks/teardown.yml"


def states(lab: Lab, host: str = "docker1") -> dict[str, str]:
    """Docker's own word for each container, by name."""
    said = lab.sh(host, "docker ps -a --format '{{.Names}} {{.State}}'")
    # One that others link to has more names, each below another's.
    return {line.split()[0].split(",")[0]: line.split()[1] for line in said.splitlines()}


def renumber(lab: Lab, third: int) -> None:
    lab.hosts["docker1"]["overlay_subnet"] = f"10.88.{third}.0/24"
    lab.write_inventory()


def daemon(lab: Lab, host: str) -> Any:
    return json.loads(lab.sh(host, "cat /etc/docker/daemon.json 2>/dev/null || echo null"))


def docker0(lab: Lab, host: str = "docker1") -> str:
    return next(one["local"] for one in lab.json(host, "ip -j -4 address show dev docker0")[0]["addr_info"])


def unchanged(lab: Lab, *args: str, playbook: str = "playbooks/overlay.yml") -> None:
    played = lab.play(*args, playbook=playbook)
    assert played.code == 0 and set(played.changed().values()) == {0}, played.output


@pytest.fixture(scope="module")
def joined(lab: Lab) -> Lab:
    # What follows is about one host; the other one restarts at the same time, and not after it.
    lab.variables = {"overlay_batch": "100%"}
    lab.write_inventory()
    lab.converge()
    return lab


def test_a_batch_that_fails_leaves_the_next_with_the_file_that_it_runs_on(lab: Lab) -> None:
    """Whatever keeps Docker from starting: here its init script, for whoever has the lease of docker1 in its file."""
    before = {host: daemon(lab, host) for host in lab.hosts}
    addresses = {host: docker0(lab, host) for host in lab.hosts}
    lab.sh("docker1", "sed -i '2i grep -qs 10.88.50 /etc/docker/daemon.json && { echo no; exit 1; }' /etc/init.d/docker")
    try:
        failed = lab.play()
    finally:
        lab.sh("docker1", "sed -i 2d /etc/init.d/docker")
    assert failed.code == 2 and {host: daemon(lab, host) for host in lab.hosts} == before, failed.output
    assert "The file that was there before is back, and Docker runs." in failed.text, failed.output
    for host in lab.hosts:
        # And starts with it, which is what counts at the next reboot.
        lab.sh(host, "service docker restart")
    assert {host: docker0(lab, host) for host in lab.hosts} == addresses
    predicted = lab.converge("--check", "--diff")
    done = lab.converge("--diff")
    assert predicted.diffs == done.diffs and predicted.changed() == done.changed()
    assert docker0(lab) == "10.88.50.1" and docker0(lab, "docker2") == "10.88.87.1"
    unchanged(lab)


def start_some(lab: Lab) -> None:
    """Containers that need each other, one that is paused, and one that is gone once it ends."""
    for command in (
        f"--name zdb {SLEEP}",
        f"--name app --link zdb:database {SLEEP}",
        f"--name web {SLEEP}",
        f"--name aside --network container:web {SLEEP}",
        f"--name beside --network container:aside {SLEEP}",
        f"--name still {SLEEP}",
        f"--name once --rm {SLEEP}",
        f"--name back --restart always {SLEEP}",
    ):
        lab.sh("docker1", f"{RUN} {command}")
    lab.sh("docker1", "docker pause still")
    lab.sh("docker1", f"{RUN} --name ended overlay-lab true; docker wait ended")


def test_what_runs_before_a_restart_runs_after_it(joined: Lab) -> None:
    lab = joined
    start_some(lab)
    renumber(lab, 60)
    refused = lab.play("-e", "overlay_allow_renumber=true")
    assert refused.code == 2 and "aside, back, beside, once, still, web, zdb" in refused.text, refused.output
    assert "Of them do not come back (--rm, or in the network of such a one): once." in refused.text
    assert daemon(lab, "docker1")["bip"] == "10.88.50.1/24"
    # Whatever order they come in: each time another one, as they are asked for by name.
    for third in (60, 61, 62):
        renumber(lab, third)
        played = lab.converge(*ALWAYS)
        for name in ("zdb", "app", "web", "aside", "beside", "back"):
            assert f"docker1: {name}" in played.text and states(lab)[name] == "running", (third, name, states(lab))
        assert states(lab)["still"] == "paused" and states(lab)["ended"] == "exited" and "once" not in states(lab)
        assert ("(--rm, or in the network of such a one): 1 (docker1: once)" in played.text) == (third == 60)
        assert docker0(lab) == f"10.88.{third}.1"
        assert "inet" in lab.sh("docker1", "docker exec app ip address show eth0")
    unchanged(lab)


def test_one_that_does_not_start_is_told_and_harms_no_other(joined: Lab) -> None:
    lab = joined
    lab.sh("docker1", "docker rename web lost")
    renumber(lab, 63)
    # Its image's lower layers are gone.
    layers = "$(docker inspect -f '{{.GraphDriver.Data.UpperDir}}' lost)"
    lab.sh("docker1", f"echo {layers} >/run/layers; mv {layers} {layers}.away")
    try:
        played = lab.play(*ALWAYS)
        after = states(lab)
        assert played.code == 2 and docker0(lab) == "10.88.63.1", played.output
        assert "runs with its new configuration. What does not run as it did before:" in played.text
        for name in ("lost", "aside", "beside"):
            assert f"{name}: docker: dockerd answers" in played.text and after[name] == "exited", (name, played.output)
        assert {name: after[name] for name in ("zdb", "app", "back", "still")} == {
            "zdb": "running",
            "app": "running",
            "back": "running",
            "still": "paused",
        }
        assert daemon(lab, "docker1")["bip"] == "10.88.63.1/24"
    finally:
        lab.sh("docker1", "mv $(cat /run/layers).away $(cat /run/layers); docker start lost aside beside")
    unchanged(lab)


def test_an_undo_starts_all_that_it_can(joined: Lab) -> None:
    lab = joined
    renumber(lab, 64)
    lab.sh("docker1", "sed -i '2i grep -qs 10.88.64 /etc/docker/daemon.json && { echo no; exit 1; }' /etc/init.d/docker")
    try:
        played = lab.play(*ALWAYS)
    finally:
        lab.sh("docker1", "sed -i 2d /etc/init.d/docker")
    assert played.code == 2 and "The file that was there before is back, and Docker runs." in played.text, played.output
    after = states(lab)
    assert {name for name, state in after.items() if state == "running"} == {"zdb", "app", "lost", "aside", "beside", "back"}
    assert after["still"] == "paused" and docker0(lab) == "10.88.63.1"
    assert lab.sh("docker1", "ls -A /etc/docker | grep undo || true") == ""
    renumber(lab, 63)
    lab.converge()
    unchanged(lab)


def test_tasks_of_a_swarm_are_left_to_the_swarm(joined: Lab) -> None:
    """It makes others in their place: those of before, started again by name, would be there twice."""
    lab = joined
    lab.sh("docker1", "docker ps -aq | xargs -r docker rm -f; docker swarm init --advertise-addr 192.168.65.3")
    try:
        lab.sh("docker1", f"docker service create --detach --no-resolve-image --name svc --replicas 2 {SLEEP}")
        count = "docker ps -q --filter label=com.docker.swarm.service.name=svc | wc -l"
        lab.sh("docker1", f"for i in $(seq 100); do [ $({count}) = 2 ] && break; sleep 0.2; done")
        before = set(lab.sh("docker1", "docker ps --format '{{.Names}}'").split())
        renumber(lab, 65)
        lab.converge(*ALWAYS)
        lab.sh("docker1", f"for i in $(seq 100); do [ $({count}) = 2 ] && break; sleep 0.2; done; sleep 3")
        after = lab.sh("docker1", "docker ps --format '{{.Names}}'").split()
        assert len(before) == 2 == len(after) and not before & set(after), (before, after)
        assert docker0(lab) == "10.88.65.1"
    finally:
        lab.sh("docker1", "docker swarm leave --force; docker ps -aq | xargs -r docker rm -f")
        renumber(lab, 63)
        lab.converge(*ALWAYS)


def test_an_undo_leaves_docker0_to_containers_that_outlive_dockerd(joined: Lab) -> None:
    """dockerd is killed in its restart, as by systemd's time limit, and does not start again, whatever is in its file."""
    lab = joined
    lab.container("docker1", "alive")
    lab.sh("docker1", "cp /etc/init.d/docker /run/init.before")
    kill = "kill -9 $(cat /run/docker.pid); rm -f /run/docker.pid /run/docker.sock; exit 0"
    lab.sh("docker1", f"sed -i '2i case $1 in start) exit 1;; stop|restart) {kill};; esac' /etc/init.d/docker")
    renumber(lab, 66)
    try:
        failed = lab.play(*ALWAYS)
        assert failed.code == 2, failed.output
        assert lab.json("docker1", "ip -j link show master docker0") != [], failed.output
    finally:
        lab.sh("docker1", "mv /run/init.before /etc/init.d/docker; service docker start")
        renumber(lab, 63)
    lab.converge(*ALWAYS)
    unchanged(lab)
    lab.sh("docker1", "docker rm -f alive")


# Off again, where another network has docker0's former address by then.


def own_network(lab: Lab, name: str = "app") -> str:
    """A Docker network of the user's, with the subnet that Docker gives it."""
    lab.sh("docker1", f"docker network create {name}")
    return str(lab.json("docker1", f"docker network inspect {name}")[0]["IPAM"]["Config"][0]["Subnet"])


def torn_down(lab: Lab) -> Played:
    played = lab.play(playbook=TEARDOWN)
    assert played.code == 0, played.output
    lab.sh("docker1", "docker info")
    unchanged(lab, playbook=TEARDOWN)
    return played


def clear(lab: Lab) -> None:
    lab.sh("docker1", "docker ps -aq | xargs -r docker rm -f; docker network prune -f")


def test_teardown_finds_another_address_where_the_former_is_taken(joined: Lab) -> None:
    lab = joined
    clear(lab)
    assert own_network(lab) == "172.17.0.0/16"
    predicted = lab.play("--check", "--diff", playbook=TEARDOWN)
    assert predicted.code == 0 and docker0(lab) == "10.88.63.1"
    # Its first step, which a restart makes to be so, and of which the second leaves nothing.
    assert '+"bip": "172.18.0.1/16"' in predicted.diffs["docker1"]["docker_bip"], predicted.output
    torn_down(lab)
    assert docker0(lab).startswith("172.18."), docker0(lab)
    assert daemon(lab, "docker1") is None, "the file as it was: none"
    assert lab.sh("docker1", "ls -A /etc/docker | grep overlay || true") == ""
    # It is there after the next start too.
    lab.sh("docker1", "service docker restart && docker info")
    assert docker0(lab).startswith("172.18.")


def test_teardown_of_a_file_with_a_bip_of_its_own_is_refused_by_name(joined: Lab) -> None:
    lab = joined
    clear(lab)
    lab.sh("docker1", """echo '{"bip": "172.19.0.1/16"}' >/etc/docker/daemon.json; service docker restart""")
    lab.converge()
    lab.sh("docker1", "docker network create --subnet 172.19.0.0/24 app")
    before = lab.state("docker1")
    for args in (("--check",), ()):
        refused = lab.play(*args, playbook=TEARDOWN)
        assert refused.code == 2, refused.output
        assert "172.19.0.1/16, which docker0 had before, lies over Docker network app (172.19.0.0/24)" in refused.text
        assert lab.state("docker1") == before
    lab.sh("docker1", "docker network rm app")
    torn_down(lab)
    assert docker0(lab) == "172.19.0.1" and daemon(lab, "docker1") == {"bip": "172.19.0.1/16"}


def test_a_docker_that_is_down_on_our_file_comes_up_again(joined: Lab) -> None:
    """As an earlier version left it: the former address in the file, and a network of the user's over it."""
    lab = joined
    clear(lab)
    former = """echo '{"bip": "172.17.0.1/16"}' >/etc/docker/daemon.json; service docker restart"""
    # Docker keeps it without the file too.
    lab.sh("docker1", f"{former}; rm /etc/docker/daemon.json")
    for way in (TEARDOWN, "playbooks/overlay.yml"):
        lab.converge()
        assert own_network(lab) == "172.17.0.0/16"
        lab.sh("docker1", former.replace("service", "timeout 8 service") + " || true")
        assert lab.exec("docker1", "docker", "info", check=False).returncode, "it would have to be down"
        played = lab.play(playbook=way)
        assert played.code == 0, played.output
        assert lab.sh("docker1", "docker network ls --format '{{.Name}}'").split() == ["app", "bridge", "host", "none"]
        unchanged(lab, playbook=way)
        assert docker0(lab).startswith("172.18." if way == TEARDOWN else "10.88.63.")
        clear(lab)
        torn_down(lab)


def test_teardown_of_a_docker_that_somebody_stopped(joined: Lab) -> None:
    """It keeps docker0's address in a store of its own, and is given the former one."""
    lab = joined
    clear(lab)
    lab.sh("docker1", "rm -f /etc/docker/daemon.json; service docker restart")
    before = docker0(lab)
    lab.converge()
    assert docker0(lab) == "10.88.63.1" != before
    lab.sh("docker1", "service docker stop")
    torn_down(lab)
    assert docker0(lab) == before and daemon(lab, "docker1") is None


def test_a_network_that_moves_off_docker0_leaves_nothing_for_the_next_run(joined: Lab) -> None:
    lab = joined
    clear(lab)
    lab.converge()
    own_network(lab)
    lab.networks = [{**Lab.networks[0], "attach": {"docker_network": "web"}}]
    lab.hosts["docker1"]["overlay_subnet"] = "10.88.70.0/24"
    lab.hosts["docker2"]["overlay_subnet"] = "10.88.71.0/24"
    try:
        lab.write_inventory()
        lab.converge()
        assert daemon(lab, "docker1") is None and lab.sh("docker1", "ls -A /etc/docker | grep overlay || true") == ""
        unchanged(lab)
    finally:
        lab.networks = Lab.networks
        lab.hosts["docker2"]["overlay_subnet"] = "10.88.87.0/24"
    torn_down(lab)
    renumber(lab, 63)


def test_keys_that_do_not_go_with_the_former_address_are_refused_before_anything_is_touched(joined: Lab) -> None:
    lab = joined
    clear(lab)
    lab.converge()
    lab.sh(
        "docker1", 'sed -i \'0,/{/s//{ "default-gateway": "10.88.63.254",/\' /etc/docker/daemon.json; service docker restart'
    )
    unchanged(lab)
    before = lab.state("docker1")
    for args in (("--check",), ()):
        refused = lab.play("--limit", "docker1", *args, playbook=TEARDOWN)
        assert refused.code == 2 and "default-gateway to 10.88.63.254, outside 172." in refused.text, refused.output
        assert lab.state("docker1") == before
    lab.sh("docker1", 'sed -i \'s/ "default-gateway": "10.88.63.254",//\' /etc/docker/daemon.json; service docker restart')
    unchanged(lab)
    torn_down(lab)


def test_containers_that_live_on_without_dockerd_keep_it_from_being_restarted(joined: Lab) -> None:
    """Nobody can name them, so that nobody gave them up."""
    lab = joined
    lab.sh("docker1", """echo '{"live-restore": true}' >/etc/docker/daemon.json; service docker restart""")
    lab.converge()
    lab.sh("docker1", f"{RUN} --name keep {SLEEP}; kill -9 $(cat /run/docker.pid); sleep 1; rm -f /run/docker.sock")
    renumber(lab, 64)
    for args in (("--check",), (), ALWAYS):
        refused = lab.play("--limit", "docker1", *args)
        assert refused.code == 2 and "containers of it live on (live-restore)" in refused.text, refused.output
    assert lab.json("docker1", "ip -j link show master docker0") != [], "keep is still on docker0"
    lab.sh("docker1", "service docker start")
    renumber(lab, 63)
    assert states(lab)["keep"] == "running" and lab.json("docker1", "ip -j link show master docker0") != []
    lab.converge()
    unchanged(lab)
    clear(lab)
    torn_down(lab)


def test_a_subnet_with_host_bits_is_no_obstacle(joined: Lab) -> None:
    """Docker 20.10 keeps one as it was given."""
    lab = joined
    clear(lab)
    lab.sh("docker1", "docker network create --subnet 10.5.5.5/24 odd")
    lab.converge()
    unchanged(lab)
    torn_down(lab)
    clear(lab)


def test_a_lease_that_a_docker_network_has_is_refused_before_anything_is_touched(joined: Lab) -> None:
    lab = joined
    before = lab.state("docker1")
    lab.sh("docker1", "docker network create --subnet 10.88.63.128/25 app")
    for args in (("--check",), ()):
        refused = lab.play(*args)
        assert refused.code == 2 and "10.88.63.1/24 lies over Docker network app (10.88.63.128/25)" in refused.text
        assert lab.state("docker1")["daemon.json"] == before["daemon.json"] and lab.state("docker1")["link"] == []
    lab.sh("docker1", "docker network rm app")


def test_the_docker_of_another_socket_is_not_taken_for_one_that_is_down(joined: Lab) -> None:
    """It may have containers that nobody sees; a restart would end them."""
    lab, other = joined, "docker -H unix:///run/other.sock"
    init = (
        f"-e 's|bin/dockerd|& -H unix:///run/other.sock|' -e 's|docker version|{other} version|' -e 's|docker.sock|other.sock|'"
    )
    lab.sh("docker1", f"service docker stop; rm -f /run/docker.sock; sed -i.before {init} /etc/init.d/docker")
    lab.sh("docker1", f"service docker start; {other} run --detach --name precious {SLEEP}")
    try:
        before = lab.state("docker1")
        for args in (("--check",), (), ALWAYS):
            refused = lab.play("--limit", "docker1", *args)
            assert refused.code == 2 and "and does not listen on /var/run/docker.sock" in refused.text, refused.output
            assert lab.state("docker1") == before
        assert "Up" in lab.sh("docker1", f"{other} ps")
    finally:
        lab.sh("docker1", f"{other} rm -f precious; service docker stop; mv /etc/init.d/docker.before /etc/init.d/docker")
        lab.sh("docker1", "service docker start")
    lab.converge()
    unchanged(lab)
