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
  set vteps_90_v6 {
    type ipv6_addr
  }
  set vteps_88 {
    type ipv4_addr
  }
  set vteps_202 {
    type ipv4_addr
  }
  set vteps_201 {
    type ipv4_addr
  }
  set vteps_200 {
    type ipv4_addr
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr != 10.19.0.0/16 ip daddr 10.19.0.0/16 oifname != "br.near" snat ip to 10.19.182.0
    ip saddr != 10.88.0.0/16 ip daddr 10.88.0.0/16 oifname != "docker0" snat ip to 10.88.0.0
    ip saddr != 10.90.0.0/16 ip daddr 10.90.0.0/16 oifname "vxlan.90" masquerade
    ip saddr 10.19.182.0/24 ip daddr != 10.19.0.0/16 ip daddr != 224.0.0.0/4 masquerade
    ip saddr 10.88.0.0/24 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade
    ip saddr 10.90.205.0/24 ip daddr != 10.90.0.0/16 ip daddr != 224.0.0.0/4 masquerade
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 4789 @th,96,24 0x58 ip saddr != @vteps_88 counter drop
    udp dport 4789 @th,96,24 0x5a ip6 saddr != @vteps_90_v6 counter drop
    udp dport 4789 @th,96,24 0xc8 ip saddr != @vteps_200 counter drop
    udp dport 4789 @th,96,24 0xc9 ip saddr != @vteps_201 counter drop
    udp dport 4789 @th,96,24 0xca ip saddr != @vteps_202 counter drop
  }
}
add element inet agentless_overlay vteps_90_v6 {
fd65::4,
fd66::5,
}
add element inet agentless_overlay vteps_88 {
10.201.0.5,
192.168.65.4,
}
add element inet agentless_overlay vteps_202 {
192.168.65.4,
}
add element inet agentless_overlay vteps_201 {
10.201.0.5,
}
add element inet agentless_overlay vteps_200 {
10.201.0.5,
192.168.65.4,
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
-s 10.19.0.0/16 -d 10.19.182.0/24 -o br.near -m comment --comment agentless.overlay:near -j ACCEPT
-s 10.19.182.0/24 -d 10.19.0.0/16 -i br.near -m comment --comment agentless.overlay:near -j ACCEPT
-s 10.88.0.0/16 -d 10.88.0.0/24 -i vxlan.88 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/16 -d 10.88.0.0/24 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/24 -d 10.88.0.0/16 -i docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/24 -d 10.88.0.0/16 -i docker0 -o vxlan.88 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.90.0.0/16 -d 10.90.205.0/24 -i vxlan.90 -o br.90 -m comment --comment agentless.overlay:six -j ACCEPT
-s 10.90.205.0/24 -d 10.90.0.0/16 -i br.90 -o vxlan.90 -m comment --comment agentless.overlay:six -j ACCEPT
END
make br.200 agentless.overlay:all ip link add br.200 address be:d5:39:31:52:0a type bridge
try ip link set dev br.200 mtu 1450
ipv6 br.200 accept_ra 0
ipv6 br.200 autoconf 0
try ip link set dev br.200 up
make vxlan.88 agentless.overlay:main ip link add vxlan.88 address a2:df:01:1b:83:c0 type vxlan id 88 dstport 4789 local 192.168.65.3 nolearning
try ip link set dev vxlan.88 mtu 1450
ipv6 vxlan.88 accept_ra 0
ipv6 vxlan.88 autoconf 0
try ip link set dev vxlan.88 up
make vxlan.90 agentless.overlay:six ip link add vxlan.90 address 92:cf:62:fa:8c:b6 type vxlan id 90 dstport 4789 local fd65::3 nolearning
try ip link set dev vxlan.90 mtu 1430
ipv6 vxlan.90 accept_ra 0
ipv6 vxlan.90 autoconf 0
try ip link set dev vxlan.90 up
make vxlan.200 agentless.overlay:all ip link add vxlan.200 address be:d5:39:31:52:0a type vxlan id 200 dstport 4789 local 192.168.65.3 learning
try ip link set dev vxlan.200 mtu 1450 master br.200
ipv6 vxlan.200 accept_ra 0
ipv6 vxlan.200 autoconf 0
try ip link set dev vxlan.200 up
try bridge link set dev vxlan.200 neigh_suppress off
make vxlan.201 agentless.overlay:pair ip link add vxlan.201 address c2:b1:1f:22:9d:42 type vxlan id 201 dstport 4789 local 192.168.65.3 remote 10.201.0.5 learning
try ip link set dev vxlan.201 mtu 1450
ipv6 vxlan.201 accept_ra 0
ipv6 vxlan.201 autoconf 0
try ip link set dev vxlan.201 up
make vxlan.202 agentless.overlay:tell ip link add vxlan.202 address fe:8c:82:35:f7:e8 type vxlan id 202 dstport 4789 local 192.168.65.3 group 239.1.1.1 dev eth0 learning
try ip link set dev vxlan.202 mtu 1450
ipv6 vxlan.202 accept_ra 0
ipv6 vxlan.202 autoconf 0
try ip link set dev vxlan.202 up
try ip -force -batch - <<'END'
address replace 172.18.229.1/16 dev br.200
address replace 10.88.0.0/32 dev vxlan.88
address replace 10.90.205.0/32 dev vxlan.90
address replace 10.0.0.94/24 dev vxlan.201
address replace 10.2.225.148/16 dev vxlan.202
END
try ip -force -batch - <<'END'
neigh replace 10.88.78.0 lladdr aa:8a:f4:d5:8a:ce dev vxlan.88 nud permanent
neigh replace 10.90.53.0 lladdr 26:76:6b:16:3c:11 dev vxlan.90 nud permanent
neigh replace 10.90.110.0 lladdr ea:4d:44:e2:04:86 dev vxlan.90 nud permanent
END
try bridge -force -batch - <<'END'
fdb replace aa:8a:f4:d5:8a:ce dev vxlan.88 dst 10.201.0.5 self permanent
fdb replace 26:76:6b:16:3c:11 dev vxlan.90 dst fd65::4 self permanent
fdb replace ea:4d:44:e2:04:86 dev vxlan.90 dst fd66::5 self permanent
fdb append 00:00:00:00:00:00 dev vxlan.200 dst 192.168.65.4 self permanent
fdb append 00:00:00:00:00:00 dev vxlan.200 dst 10.201.0.5 self permanent
END
try ip -force -batch - <<'END'
route replace 10.88.1.0/24 via 192.168.65.4 proto 157
route replace 10.88.78.0/24 via 10.88.78.0 dev vxlan.88 proto 157 onlink
route replace 10.90.53.0/24 via 10.90.53.0 dev vxlan.90 proto 157 onlink
route replace 10.90.110.0/24 via 10.90.110.0 dev vxlan.90 proto 157 onlink
route replace 10.19.96.0/24 via 192.168.65.4 proto 157
END
try mkdir -p /run/flannel
printf %s '# Made by agentless.overlay: the next run of overlay.yml replaces it.
FLANNEL_NETWORK=10.88.0.0/16
FLANNEL_SUBNET=10.88.0.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
' >/run/flannel/subnet.env || failed=1
try chmod 0644 /run/flannel/subnet.env
exit "$failed"
