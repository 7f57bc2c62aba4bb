#!/bin/sh
# Made by agentless.overlay: the next run of overlay.yml replaces it. Puts this host's part of the
# overlay back after a reboot; may run at any time, and leaves what is there already as it is.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
failed=0
try() { "$@" || failed=1; }
# A device of ours; one that was there without our mark is somebody else's, and is marked so.
make() {
  device=$1 alias=$2
  shift 2
  case "$(ip link show dev "$device" 2>/dev/null)" in
  "") try "$@" ;;
  *"alias agentless.overlay:"*" (adopted)"*) alias="$alias (adopted)" ;;
  *"alias agentless.overlay:"*) ;;
  *) alias="$alias (adopted)" ;;
  esac
  try ip link set dev "$device" alias "$alias"
}
# A setting of a device that has IPv6.
ipv6() { [ ! -e "/proc/sys/net/ipv6/conf/$1/$2" ] || echo "$3" >"/proc/sys/net/ipv6/conf/$1/$2" || failed=1; }
# Left to Docker, where it does that: its FORWARD policy is DROP only where forwarding was off before.
[ -d /run/systemd/system ] && systemctl --quiet is-enabled docker.service 2>/dev/null &&
  ! grep -Eqs '"ip-forward": *false' /etc/docker/daemon.json ||
  try sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
try nft -f - <<'END'
table inet agentless_overlay
delete table inet agentless_overlay
table inet agentless_overlay {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    fib daddr type local tcp dport 9091 dnat ip to 172.16.1.2:8080
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 172.16.0.0/16 ip daddr != 224.0.0.0/4 oifname != "MyDocker0" masquerade
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local tcp dport 9091 dnat ip to 172.16.1.2:8080
  }
}
END
# Rules at the top of DOCKER-USER, in the tables where Docker's are, or will be once it has started.
docker_user() {
  rules=$(cat) program=$1
  if grep -qs filter "/proc/net/${1%tables}_tables_names"; then
    for other in "$1-legacy" "$1-nft"; do "$other" -w -S DOCKER >/dev/null 2>&1 && program=$other; done
  fi
  found=$("$program" -w -S DOCKER-USER 2>/dev/null | tr -d '"' | sed -n 's/^-A DOCKER-USER //p')
  [ "$(echo "$found" | head -n "$(echo "$rules" | wc -l)" | sort)" != "$rules" ] || return
  "$program" -w -N DOCKER-USER 2>/dev/null
  {
    echo '*filter'
    echo "$rules" | grep -Fxe "$found" | sed 's/^/-D DOCKER-USER /'
    echo "$rules" | sed 's/^/-I DOCKER-USER /'
    echo COMMIT
  } | "$program-restore" -w --noflush || failed=1
}
docker_user iptables <<'END'
-i MyDocker0 -m comment --comment agentless.overlay:byhand -j ACCEPT
-o MyDocker0 -m comment --comment agentless.overlay:byhand -j ACCEPT
END
make MyDocker0 agentless.overlay:byhand ip link add MyDocker0 type bridge
try ip link set dev MyDocker0 mtu 1500
ipv6 MyDocker0 accept_ra 0
ipv6 MyDocker0 autoconf 0
try ip link set dev MyDocker0 up
try ip -force -batch - <<'END'
address replace 172.16.1.254/16 dev MyDocker0
END
if ! ip link show dev ao9ac6cb0988 >/dev/null 2>&1; then
  try ip link add ao9ac6cb0988 mtu 1500 type veth peer name ao9ac6cb0988p mtu 1500
  try ip link set dev ao9ac6cb0988 alias agentless.overlay:byhand/one
  try ip netns add one
  try ip link set dev ao9ac6cb0988p netns one name eth0
  try ip link set dev ao9ac6cb0988 master MyDocker0 up
  try ip -n one link set lo up
  try ip -n one address add 172.16.1.1/16 dev eth0
  try ip -n one link set dev eth0 up
  try ip -n one route add default via 172.16.1.254
fi
if ! ip link show dev aofe21d55a59 >/dev/null 2>&1; then
  try ip link add aofe21d55a59 mtu 1500 type veth peer name aofe21d55a59p mtu 1500
  try ip link set dev aofe21d55a59 alias agentless.overlay:byhand/two
  try ip netns add two
  try ip link set dev aofe21d55a59p netns two name eth0
  try ip link set dev aofe21d55a59 master MyDocker0 up
  try ip -n two link set lo up
  try ip -n two address add 172.16.1.2/16 dev eth0
  try ip -n two link set dev eth0 up
  try ip -n two route add default via 172.16.1.254
fi
exit "$failed"
