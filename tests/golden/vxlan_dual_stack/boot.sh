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
try sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
try nft -f - <<'END'
table inet agentless_overlay
delete table inet agentless_overlay
table inet agentless_overlay {
  set vteps_89_v6 {
    type ipv6_addr
  }
  set vteps_88_v6 {
    type ipv6_addr
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr != 10.88.0.0/16 ip daddr 10.88.0.0/16 oifname "vxlan.88" masquerade
    ip saddr != 10.88.0.0/16 ip daddr 10.88.0.0/16 oifname "vxlan.89" masquerade
    ip saddr 10.88.0.0/24 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade
    ip6 saddr != fd00:88::/48 ip6 daddr fd00:88::/48 oifname "vxlan.88" masquerade
    ip6 saddr != fd00:88::/48 ip6 daddr fd00:88::/48 oifname "vxlan.89" masquerade
    ip6 saddr fd00:88::/64 ip6 daddr != fd00:88::/48 ip6 daddr != ff00::/8 masquerade
  }
  chain input {
    type filter hook input priority -10; policy accept;
    udp dport 8472 @th,96,24 0x58 ip6 saddr != @vteps_88_v6 counter drop
    udp dport 8472 @th,96,24 0x59 ip6 saddr != @vteps_89_v6 counter drop
  }
}
add element inet agentless_overlay vteps_89_v6 {
fd65::4,
}
add element inet agentless_overlay vteps_88_v6 {
fd65::4,
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
-s 10.88.0.0/16 -d 10.88.0.0/24 -i vxlan.88 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/16 -d 10.88.0.0/24 -i vxlan.89 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/24 -d 10.88.0.0/16 -i docker0 -o vxlan.88 -m comment --comment agentless.overlay:main -j ACCEPT
-s 10.88.0.0/24 -d 10.88.0.0/16 -i docker0 -o vxlan.89 -m comment --comment agentless.overlay:main -j ACCEPT
END
docker_user ip6tables <<'END'
-s fd00:88::/48 -d fd00:88::/64 -i vxlan.88 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s fd00:88::/48 -d fd00:88::/64 -i vxlan.89 -o docker0 -m comment --comment agentless.overlay:main -j ACCEPT
-s fd00:88::/64 -d fd00:88::/48 -i docker0 -o vxlan.88 -m comment --comment agentless.overlay:main -j ACCEPT
-s fd00:88::/64 -d fd00:88::/48 -i docker0 -o vxlan.89 -m comment --comment agentless.overlay:main -j ACCEPT
END
make vxlan.88 agentless.overlay:main ip link add vxlan.88 address a2:df:01:1b:83:c0 type vxlan id 88 dstport 8472 local fd65::3 nolearning ttl 64 srcport 40000 50000 udp6zerocsumtx
try ip link set dev vxlan.88 mtu 1430
ipv6 vxlan.88 accept_ra 0
ipv6 vxlan.88 autoconf 0
try ip link set dev vxlan.88 up
make vxlan.89 agentless.overlay:main ip link add vxlan.89 address 16:8c:d5:c9:35:89 type vxlan id 89 dstport 8472 local fd65::3 nolearning ttl 64 srcport 40000 50000 udp6zerocsumtx
try ip link set dev vxlan.89 mtu 1430
ipv6 vxlan.89 accept_ra 0
ipv6 vxlan.89 autoconf 0
try ip link set dev vxlan.89 up
try ip -force -batch - <<'END'
address replace 10.88.0.0/32 dev vxlan.88
address replace fd00:88::/128 dev vxlan.88 nodad
address replace 10.88.0.0/32 dev vxlan.89
address replace fd00:88::/128 dev vxlan.89 nodad
END
try ip -force -batch - <<'END'
neigh replace 10.88.1.0 lladdr 16:3d:e9:c1:cc:c2 dev vxlan.88 nud permanent
neigh replace fd00:88:0:1:: lladdr 16:3d:e9:c1:cc:c2 dev vxlan.88 nud permanent
neigh replace 10.88.1.0 lladdr 76:c5:d5:31:9e:60 dev vxlan.89 nud permanent
neigh replace fd00:88:0:1:: lladdr 76:c5:d5:31:9e:60 dev vxlan.89 nud permanent
END
try bridge -force -batch - <<'END'
fdb replace 16:3d:e9:c1:cc:c2 dev vxlan.88 dst fd65::4 self permanent
fdb replace 76:c5:d5:31:9e:60 dev vxlan.89 dst fd65::4 self permanent
END
try ip -force -batch - <<'END'
route replace 10.88.1.0/24 via 10.88.1.0 dev vxlan.88 proto 157 onlink
route replace fd00:88:0:1::/64 via fd00:88:0:1:: dev vxlan.88 proto 157 onlink
END
try mkdir -p /run/flannel
printf %s '# Made by agentless.overlay: the next run of overlay.yml replaces it.
FLANNEL_NETWORK=10.88.0.0/16
FLANNEL_SUBNET=10.88.0.1/24
FLANNEL_IPV6_NETWORK=fd00:88::/48
FLANNEL_IPV6_SUBNET=fd00:88::1/64
FLANNEL_MTU=1430
FLANNEL_IPMASQ=true
' >/run/flannel/subnet.env || failed=1
try chmod 0644 /run/flannel/subnet.env
exit "$failed"
