# shellcheck shell=sh disable=SC2034,SC2154 # these files share their variables
# The Docker engine: find out whether one answers, and start one if none does.

ENGINE_SOCKET=/var/run/docker.sock
ENGINE_WAIT=60 # seconds in which it must answer
engine_started='' # yes if this run started it

# Sets `endpoint` as the docker command chooses it: an address, or context:NAME.
engine_endpoint() {
    config=${DOCKER_CONFIG:-$HOME/.docker}/config.json context=${DOCKER_CONTEXT:-}
    [ -n "$context" ] || [ ! -e "$config" ] || context=$(sed -n 's/.*"currentContext": *"\([^"]*\)".*/\1/p' "$config")
    case ${DOCKER_HOST:-} in
    ?*) endpoint=$DOCKER_HOST ;;
    *) if [ "${context:-default}" = default ]; then endpoint=unix://$ENGINE_SOCKET; else endpoint=context:$context; fi ;;
    esac
}

# Whether the engine of the current docker context answers. A socket is asked directly, because the docker command may be
# missing, or too new for the engine. Without a docker command the answer is yes, and the command line finds out later.
engine_answers() {
    engine_endpoint
    case $endpoint in
    unix://*) ping_engine "${endpoint#unix://}" ;;
    *) ! command -v docker >/dev/null || timeout 10 docker version >/dev/null 2>&1 ;;
    esac
}

# Every Debian and Ubuntu has perl-base; not every one has curl or python3.
ping_engine() {
    [ -S "$1" ] && perl -MIO::Socket::UNIX -e '
        alarm 10;
        my $engine = IO::Socket::UNIX->new(Peer => shift) or exit 1;
        print $engine "GET /_ping HTTP/1.0\r\n\r\n";
        exit(<$engine> =~ m{^HTTP/1\.\d 200} ? 0 : 1)' "$1" 2>/dev/null
}

engine_installed() { command -v dockerd >/dev/null; }

# Whether an engine that we start needs help to run privileged containers. They get every capability, but a machine that
# is a container itself may lack CAP_SYS_RESOURCE: bit 24 of the bounding set.
lacks_capability() {
    [ ! -d /run/systemd/system ] && bounding=$(awk '$1 == "CapBnd:" {print $2}' /proc/self/status) &&
        [ $((0x$bounding >> 24 & 1)) = 0 ]
}

# Fail if the user chose an engine elsewhere: we cannot start it, and one on this machine would not replace it.
engine_is_ours() {
    engine_endpoint
    case $endpoint in
    "unix://$ENGINE_SOCKET" | unix:///run/docker.sock) ;;
    context:*) fail "the Docker engine of $endpoint does not answer" "Start it, or use this machine's: docker context use default" ;;
    *) fail "the Docker engine at $endpoint does not answer" "Start it, or unset DOCKER_HOST to use this machine's." ;;
    esac
}

# Whether there is an engine that only root may use.
engine_refuses_us() { [ -S "$ENGINE_SOCKET" ] && [ ! -w "$ENGINE_SOCKET" ]; }

in_engine_group() { case " $(id -nG "$(id -un)") " in *" docker "*) ;; *) return 1 ;; esac; }

start_engine() {
    # Another engine that is just starting would refuse a second one.
    if runs "$(cat /var/run/docker.pid 2>/dev/null)" && wait_for_engine; then return; fi
    say "starting the Docker engine"
    engine_started=yes
    if [ -d /run/systemd/system ]; then
        if logged systemctl start docker && wait_for_engine; then return; fi
        logged journalctl --no-pager --lines 15 --unit docker
        fail_with_log "the Docker engine did not start"
    fi
    private_folder "$state/engine"
    set --
    if lacks_capability; then # a copy, because the engine may run longer than this clone exists
        cp "$here/deploy/setup/runc-available-caps" "$state/engine/"
        set -- --add-runtime "available-caps=$state/engine/runc-available-caps" --default-runtime available-caps
    fi
    setsid dockerd "$@" </dev/null >"$state/engine/dockerd.log" 2>&1 9>&- &
    echo $! >"$state/engine/dockerd.pid"
    wait_for_engine $! || fail_with_log "the Docker engine did not start" "$state/engine/dockerd.log"
}

# wait_for_engine [PID]: wait until it answers; false if its process ends or the time is up.
wait_for_engine() {
    tries=$((ENGINE_WAIT * 5))
    until engine_answers; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        [ -z "${1:-}" ] || runs "$1" || return 1
        sleep 0.2
    done
}

# runs PID: whether the process exists and is not a zombie.
runs() {
    [ -n "$1" ] && stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    case $stat in *') Z '*) return 1 ;; esac
}

# Stop the engine that start_engine started.
stop_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl stop docker.service docker.socket 2>/dev/null || true
        return
    fi
    pid=$(cat "$state/engine/dockerd.pid" 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
    kill "$pid" 2>/dev/null || true
    tries=100
    while runs "$pid" && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.2
    done
    rm -f "$state/engine/dockerd.pid"
}
