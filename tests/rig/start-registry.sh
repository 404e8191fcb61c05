#!/usr/bin/env bash
# Runs Debian's docker-registry on loopback, with the rig's images.
#
#   start-registry.sh start|push|stop [PORT]      default port: 5000
#
# push copies every image of $RIG/images to 127.0.0.1:PORT/rig/<name>:latest.
# Data, log and process id are in $RIG/registry; RIG defaults to target/rig.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
rig=${RIG:-$here/../../target/rig}
registry=$rig/registry
port=${2:-5000}

running() { [ -f "$registry/pid" ] && kill -0 "$(cat "$registry/pid")" 2>/dev/null; }
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

start() {
  if running; then
    echo "already running, process $(cat "$registry/pid")"
    return
  fi
  if answers; then
    echo "start-registry.sh: something else listens on port $port" >&2
    return 1
  fi
  mkdir -p "$registry/data"
  cat >"$registry/config.yml" <<YAML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $registry/data}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:$port
YAML
  setsid nohup docker-registry serve "$registry/config.yml" >"$registry/log" 2>&1 </dev/null &
  echo $! >"$registry/pid"
  for _ in {1..100}; do
    if answers; then
      echo "started on 127.0.0.1:$port, process $(cat "$registry/pid")"
      return
    fi
    running || break
    sleep 0.1
  done
  echo "start-registry.sh: docker-registry did not start:" >&2
  cat "$registry/log" >&2
  return 1
}

push() {
  local layout name
  for layout in "$rig"/images/*/; do
    name=$(basename "$layout")
    skopeo copy -q --dest-tls-verify=false "oci:$layout:latest" "docker://127.0.0.1:$port/rig/$name:latest"
    echo "pushed rig/$name"
  done
}

stop() {
  if running; then kill "$(cat "$registry/pid")"; fi
  rm -f "$registry/pid"
}

case ${1:-} in
start | push | stop) "$1" ;;
*)
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
