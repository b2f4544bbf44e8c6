#!/bin/sh
# Starts openclaw in its sandbox. Made by sandbox-trace 0.1.0 from
#   recording.json.zst
# Arguments of this script become further flags of docker run. Values of environment variables are taken from
# the caller's environment.
#
# Why:
#   --cap-drop ALL                     no capability was used
#   --read-only                        all that was written lies in the places named here
#   --tmpfs /run/openclaw              1 path written: /run/openclaw/openclaw.pid (by /usr/bin/python3); at
#                                      most 4 KiB were used; 100 % headroom
#   --tmpfs /tmp                       13 paths written, such as /tmp/0p4t53o4 (by /usr/bin/python3); at most
#                                      0 KiB were used; 100 % headroom
#   --mount … /app/config              1 path read, none written (by /usr/bin/python3)
#   --mount … /app/logs                1 of 1 path written, such as /app/logs/openclaw.log (by
#                                      /usr/bin/python3); nothing was executed there
#   --mount … /app/skills              3 paths read, none written (by /usr/bin/python3)
#   --network openclaw-net             ports can't be published without one
#   --publish 127.0.0.1:18789:18789    bound to 0.0.0.0:18789 once; it was published on all interfaces, where
#                                      loopback may be enough
#   --security-opt no-new-privileges   a set-user-ID program, or one with file capabilities, gives nothing
#   --security-opt seccomp=seccomp.json
#                                      the system calls that were made, and those of the runtime
#   --security-opt apparmor=openclaw   the files that were used, where the kernel has AppArmor
#   --memory 42m                       at most 20 MiB were used; 100 % headroom, and 2 MiB for files in memory
#   --memory-swap 42m                  as much as --memory: no swap beside it
#   --cpus 1.1                         at most 0.53 CPUs were used at once; 100 % headroom, at least half a
#                                      CPU
#   --pids-limit 11                    at most 3 tasks ran at once; 100 % headroom, at least 8
#   user                               the image's own user, 1000:1000
#   --log-driver json-file             so that output can't fill the host's disk
#   --restart no                       as it was started
#
# To know:
#   - port 18789/tcp was published on all interfaces and is published on 127.0.0.1: --allow all-interfaces
#     keeps it open to the network
#   - the image openclaw has no digest, as it came from no registry: the name may mean another image tomorrow

set -eu
# Docker's client reads the seccomp profile, from here.
cd -- "$(dirname -- "$0")"

# AppArmor, where the engine's kernel has it: an engine without it refuses the flag.
apparmor=
case "$(docker info --format '{{.SecurityOptions}}')" in
*name=apparmor*)
  apparmor=openclaw
  if [ ! -f apparmor.profile ]; then
    echo "$0: no apparmor.profile here: the profile openclaw must be loaded already" >&2
  elif [ "$(id -u)" = 0 ] && command -v apparmor_parser >/dev/null; then
    apparmor_parser --replace apparmor.profile
  else
    echo "$0: load the AppArmor profile first, if it is not: sudo apparmor_parser --replace $PWD/apparmor.profile" >&2
  fi
  ;;
*) echo "$0: this engine has no AppArmor: seccomp, capabilities and mounts alone confine the container" >&2 ;;
esac

# What is written and was never executed from is mounted once more, so that nothing can be: Docker has no option for that.
# Not where AppArmor is in force, which sees to it. Such a mount is gone after a start of the host: the container, if it is
# restarted with it, waits until this script ran with SANDBOX_START=no. SANDBOX_NOEXEC=no makes none.
place=/run/sandbox-trace/openclaw
no_exec() {
  if [ -n "$apparmor" ] || [ ! -e "$2" ]; then
    return 1
  fi
  if [ "${SANDBOX_NOEXEC:-yes}" = no ]; then
    echo "$0: SANDBOX_NOEXEC=no: what is written to $2 can be executed in the container" >&2
    return 1
  fi
  case "$(id -u) ${DOCKER_HOST:-unix:} $(docker info --format '{{.SecurityOptions}}')" in
  *name=rootless*) ;;
  "0 unix:"*)
    if [ -d "$2" ]; then
      (umask 077 && mkdir -p -- "$place/$1")
    else
      (umask 077 && mkdir -p -- "$place" && : >>"$place/$1")
    fi
    umount -- "$place/$1" 2>/dev/null || :
    mount --bind -- "$2" "$place/$1" && mount -o remount,bind,noexec,nosuid,nodev -- "$place/$1" && return
    ;;
  esac
  echo "$0: it could not be mounted (not root, or not on the engine's host): what is written to $2 can be executed in the container" >&2
  return 1
}
volume1=/srv/openclaw/logs
if no_exec volume1 /srv/openclaw/logs; then volume1=$place/volume1; fi

# A network of its own. No connection to the outside was recorded: none can begin inside.
# SANDBOX_FIREWALL=no leaves it open. The packet filter is gone after a start of the host: SANDBOX_START=no makes it again.
network=openclaw-net
bridge=sbx-6691bfbc
docker network inspect "$network" >/dev/null 2>&1 ||
  docker network create --driver bridge --ipv6=false \
    --opt "com.docker.network.bridge.name=$bridge" "$network" >/dev/null

# Replies pass, and so do connections to published ports: new connections from the bridge alone are refused, both
# those that the host would forward and those to the host itself.
close_egress() {
  chain=SANDBOX-6691bfbc
  if [ "$(id -u)" != 0 ]; then
    echo "$0: not root: the network $network stays open for connections that begin inside" >&2
    return
  fi
  if ! command -v iptables >/dev/null || ! command -v iptables-restore >/dev/null; then
    echo "$0: no iptables: the network $network stays open for connections that begin inside" >&2
    return
  fi
  if ! grep -q "^ *$bridge:" /proc/net/dev; then
    echo "$0: no interface $bridge here (another host's engine, or a rootless one): the network $network stays open" >&2
    return
  fi
  forward=DOCKER-USER
  iptables -w -n -L DOCKER-USER >/dev/null 2>&1 || forward=FORWARD
  # All of the chain at once, in place of an older one.
  iptables-restore -w --noflush <<RULES
*filter
:$chain - [0:0]
-A $chain -j REJECT
COMMIT
RULES
  for hook in "$forward" INPUT; do
    iptables -w -C "$hook" -i "$bridge" -m conntrack --ctstate NEW -j "$chain" 2>/dev/null ||
      iptables -w -I "$hook" -i "$bridge" -m conntrack --ctstate NEW -j "$chain"
  done
}
case "${SANDBOX_FIREWALL:-yes}" in
no) echo "$0: SANDBOX_FIREWALL=no: the network $network is open for connections that begin inside" >&2 ;;
*) close_egress ;;
esac

# The host's part alone, as it is needed after a start of the host.
if [ "${SANDBOX_START:-yes}" = no ]; then
  exit
fi

docker run --detach \
  --name openclaw \
  --cap-drop ALL \
  --read-only \
  --tmpfs /run/openclaw:rw,noexec,nosuid,nodev,size=1m,mode=700,uid=1000,gid=1000 \
  --tmpfs /tmp:rw,noexec,nosuid,nodev,size=1m,mode=1777 \
  --mount type=bind,src=/srv/openclaw/config,dst=/app/config,readonly \
  --mount type=bind,src="$volume1",dst=/app/logs \
  --mount type=bind,src=/srv/openclaw/skills,dst=/app/skills,readonly \
  --network openclaw-net \
  --publish 127.0.0.1:18789:18789 \
  --security-opt no-new-privileges \
  --security-opt seccomp=seccomp.json \
  ${apparmor:+--security-opt=apparmor="$apparmor"} \
  --memory 42m \
  --memory-swap 42m \
  --cpus 1.1 \
  --pids-limit 11 \
  --log-driver json-file \
  --log-opt max-file=3 \
  --log-opt max-size=10m \
  --restart no \
  "$@" \
  openclaw
