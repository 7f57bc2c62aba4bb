# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

#!/usr/bin/env bash
# Shows on the lab what overlay.yml does: called by make demo.
set -euo pipefail

lab() { bash roles/lab/files/lab.sh "$@"; }
say() { printf '\n== %s\n' "$*"; }

say "The first run: ansible-playbook playbooks/overlay.yml -i inventory/"
ansible-playbook -i inventory/ playbooks/overlay.yml

say "A container on each host"
for host in docker1 docker2; do
  lab exec "$host" docker container inspect "web-$host" >/dev/null 2>&1 ||
    lab exec "$host" docker run --detach --name "web-$host" overlay-lab sleep 1000000 >/dev/null
  lab exec "$host" docker start "web-$host" >/dev/null
  lab exec "$host" docker ps --format '{{.Names}} is {{.Status}} on '"$host"
done
address() { lab exec "$1" docker container inspect --format '{{.NetworkSettings.IPAddress}}' "web-$1"; }

say "docker1's container pings docker2's, and back (62 = 64 less two hops: routed, not translated)"
lab exec docker1 docker exec web-docker1 ping -c 3 "$(address docker2)"
lab exec docker2 docker exec web-docker2 ping -c 3 "$(address docker1)"

say "The second run: nothing to change, and every pair of hosts and containers answers"
second=$(mktemp)
trap 'rm -f "$second"' EXIT
ansible-playbook -i inventory/ playbooks/overlay.yml | tee "$second"
[ "$(grep -c 'changed=0' "$second")" = 2 ] || { echo "The second run changed something." >&2; exit 1; }

say "Done. Look around: bash roles/lab/files/lab.sh exec docker1 ip route"
echo "Remove it all: make lab-down"
