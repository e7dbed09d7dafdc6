# shellcheck shell=sh disable=SC2034 # these files and the scripts share their variables
# What ./baseforge and tests/run share: messages, folders, and the set-up as a whole.
# The script that reads this file sets `here`, the clone's folder, and `as_root`, its arguments if root must run it.
: "${here:?}" "${as_root=}"

PATH=$PATH:/usr/sbin:/sbin # dockerd is there, which an ordinary user's PATH may lack
if [ -z "${HOME:-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    export HOME
fi
cache=${BASEFORGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/baseforge}
state=${BASEFORGE_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/baseforge}
log=$state/setup.log

# say LINE...: print the first line with our name, and the others indented.
say() {
    printf 'baseforge: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
}

# fail MESSAGE [HINT...]: end because the machine lacks something.
fail() {
    say "$@"
    exit 3
}

# private_folder FOLDER: make the folder, for this user only. Refuse another user's folder, and another user's link.
private_folder() {
    (umask 077 && mkdir -p "$1") 2>/dev/null || true
    if [ ! -d "$1" ] || [ ! -w "$1" ]; then
        fail "$1 cannot be written" "Name other folders: BASEFORGE_CACHE, BASEFORGE_HOME."
    fi
    me=$(id -u) link=$(stat -c %u "$1") owner=$(stat -L -c %u "$1")
    if [ "$owner" != "$me" ] || { [ "$link" != "$me" ] && [ "$link" != 0 ]; }; then
        fail "$1 belongs to another user (you are $(id -un))" \
            "With sudo: sudo -H. Or name other folders: BASEFORGE_CACHE, BASEFORGE_HOME."
    fi
    chmod go= "$1"
}

# logged COMMAND...: run the command; its output goes to the log.
logged() {
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" </dev/null >>"$log" 2>&1 9>&-
}

# fail_with_log MESSAGE [FILE]: end, and show the last lines of the log.
fail_with_log() {
    say "$1; ${2:-$log} ends with"
    tail -n 15 "${2:-$log}" | sed 's/^/  | /' >&2
    exit 3
}

# shellcheck source=deploy/setup/packages.sh
. "$here/deploy/setup/packages.sh"
# shellcheck source=deploy/setup/engine.sh
. "$here/deploy/setup/engine.sh"
# shellcheck source=deploy/setup/emulation.sh
. "$here/deploy/setup/emulation.sh"
# shellcheck source=deploy/setup/tools.sh
. "$here/deploy/setup/tools.sh"
# shellcheck source=deploy/setup/buildx.sh
. "$here/deploy/setup/buildx.sh"
# shellcheck source=deploy/setup/python.sh
. "$here/deploy/setup/python.sh"

# survey MACHINE GROUPS [PACKAGE...]: find what is missing, and change nothing; true if nothing is missing.
# Sets `wanted_packages`. Sets to yes or nothing: `wanted_scripts` (debootstrap's), `wanted_engine`, `wanted_python`,
# `wanted_emulation`, which EMULATION_PACKAGES ask for, and `wanted_buildx`, which `buildx=yes` asks for.
survey() {
    machine=$1 groups=$2
    shift 2
    wanted_engine='' wanted_python='' wanted_scripts='' wanted_emulation='' wanted_buildx=''
    case " $* " in *" arch-test "*) emulation_works || wanted_emulation=yes ;; esac
    if [ "$machine" != no ]; then
        # shellcheck disable=SC2086 # a list of names
        set -- "$@" $MACHINE_PACKAGES
        suite_scripts || wanted_scripts=yes
    fi
    if [ "$machine" = yes ] && ! engine_answers; then
        wanted_engine=yes
        engine_installed || engine_refuses_us || set -- "$@" docker.io
        engine_refuses_us || ! lacks_capability || set -- "$@" jq
    fi
    [ -z "${buildx:-}" ] || buildx_works || wanted_buildx=yes
    if ! python_ready "$groups"; then
        wanted_python=yes
        find_uv || set -- "$@" python3-venv ca-certificates
    fi
    wanted_packages=$(missing_packages "$@")
    [ -z "$wanted_packages$wanted_engine$wanted_python$wanted_scripts$wanted_emulation$wanted_buildx" ]
}

# set_up MACHINE GROUPS [PACKAGE...]: install what is missing. MACHINE is yes for everything that builds need, packages for
# everything but the engine, or no. GROUPS is main or dev (Python). PACKAGE is installed in addition. Fast if nothing is
# missing. One set-up runs at a time; the next one completes an interrupted one.
set_up() {
    survey "$@" && return
    [ -z "$wanted_engine" ] || engine_is_ours
    needs_root && ask_for_root
    private_folder "$cache"
    private_folder "$state"
    exec 9>>"$cache/setup.lock"
    if ! flock --nonblock 9; then
        say "another set-up is running; waiting for it"
        flock --timeout 3600 9 || fail "another set-up has been running for an hour" "It holds $cache/setup.lock: end it."
    fi
    survey "$@" || install_missing # another set-up may have installed some of it while we waited
    exec 9>&-
}

install_missing() {
    rm -f "$log" # it may be a link
    (umask 077 && : >"$log")
    [ -z "$wanted_packages$wanted_scripts" ] || install_packages
    case " $wanted_packages " in *" docker.io "*) engine_started=yes ;; esac # its package starts it where it can
    [ -z "$wanted_engine" ] || engine_answers || start_engine
    [ -z "$wanted_emulation" ] || emulation_works || start_emulation
    [ -z "$wanted_buildx" ] || buildx_works || start_buildx
    [ -z "$wanted_python" ] || make_python "$groups"
}

# Whether only root can install what is missing.
needs_root() {
    [ "$(id -u)" != 0 ] || return 1
    [ -n "$wanted_packages$wanted_engine$wanted_scripts$wanted_emulation$wanted_buildx" ] || ! python_writable
}

# Print the one command line that root must run, and end.
ask_for_root() {
    lacks=$wanted_packages line=''
    case $0 in *[!A-Za-z0-9_./-]*) setup="sudo '$0' $as_root" ;; *) setup="sudo $0 $as_root" ;; esac
    [ -z "$wanted_scripts" ] || lacks="${lacks:+$lacks, }a newer debootstrap"
    [ -z "$wanted_emulation" ] || lacks="${lacks:+$lacks, }emulation of other platforms"
    [ -z "$wanted_buildx" ] || lacks="${lacks:+$lacks, }buildx"
    [ -z "$wanted_python" ] || python_writable || lacks="${lacks:+$lacks, }a Python environment in $here"
    # The user may have an engine that root does not know.
    case $as_root in setup*) [ -n "$wanted_engine" ] || ! engine_answers || setup="$setup --no-engine" ;; esac
    [ -z "$lacks" ] || line=$setup
    if [ -n "$wanted_engine" ]; then
        lacks="${lacks:+$lacks and }a Docker engine that answers you"
        engine_refuses_us || line=$setup
        if in_engine_group; then
            [ -n "$line" ] || line="newgrp docker" # the user joined the group after logging in
        else
            line="${line:+$line && }sudo usermod --append --groups docker $(id -un) && newgrp docker"
        fi
    fi
    say "this machine lacks ${lacks# }; run this once, then try again:"
    printf '%s\n' "$line" >&2
    exit 3
}
