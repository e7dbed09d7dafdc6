# shellcheck shell=sh disable=SC2154 # these files share their variables
# The Python environment, which uv makes from the committed lock.

venv=$here/.venv

# What the environment was made from: the lock, the project, and their path, which its scripts contain.
python_stamp() { sha256sum "$here/uv.lock" "$here/pyproject.toml"; }

# python_ready GROUPS: whether it exists and was made from the committed files. `dev` contains all of `main`.
python_ready() {
    [ -x "$venv/bin/python" ] && [ -r "$venv/baseforge.stamp" ] || return 1
    { read -r made && made_from=$(cat); } <"$venv/baseforge.stamp"
    case $made in "$1" | dev) ;; *) return 1 ;; esac
    [ "$made_from" = "$(python_stamp)" ]
}

# Sets `uv`: our own in the cache, else one on PATH that is new enough.
find_uv() {
    read -r uv_wanted _ <"$here/deploy/setup/uv.txt"
    uv_wanted=${uv_wanted#uv==}
    uv=$cache/uv-$uv_wanted
    [ -x "$uv" ] && return
    uv=$(command -v uv) || return 1
    found=$("$uv" --version 2>/dev/null | awk '{print $2}')
    [ "$(printf '%s\n' "$uv_wanted" "$found" | sort -V | head -n 1)" = "$uv_wanted" ]
}

# Fetch our own uv and check it against the hashes in uv.txt. The file is moved to its place last.
fetch_uv() {
    say "fetching uv $uv_wanted"
    uv=$cache/uv-$uv_wanted
    rm -rf "$uv.new"
    python3=/usr/bin/python3
    [ -x "$python3" ] || python3=python3
    if ! logged "$python3" -m venv "$uv.new" || ! logged "$uv.new/bin/pip" install --disable-pip-version-check \
        --only-binary :all: --require-hashes --requirement "$here/deploy/setup/uv.txt"; then
        fail_with_log "uv could not be fetched"
    fi
    mv "$uv.new/bin/uv" "$uv"
    rm -rf "$uv.new"
}

# The machine's own Python if it is new enough, else one that uv finds or fetches.
choose_python() {
    for python in /usr/bin/python3 /usr/bin/python3.1[1-9]; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    python=3.13
}

# Remove an environment that uv cannot update: an interrupted one may contain half a package that looks complete, and the
# scripts of one from another folder contain that folder's path.
drop_unsound() { grep -qsF "  $here/uv.lock" "$venv/baseforge.stamp" || rm -rf "$venv"; }

# make_python GROUPS: make or update the environment.
make_python() {
    if as_owner; then return; fi
    find_uv || fetch_uv
    choose_python
    say "making the Python environment"
    drop_unsound
    rm -f "$venv/baseforge.stamp"
    if [ "$1" = dev ]; then set -- dev --dev; else set -- main --no-dev; fi
    # Use the machine's certificates: it may have its own authorities.
    UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_PROJECT_ENVIRONMENT=$venv logged "$uv" sync --quiet --frozen "$2" \
        --compile-bytecode --project "$here" --python "$python" || python_failed
    { echo "$1" && python_stamp; } >"$venv/baseforge.stamp"
}

python_failed() {
    [ "$python" != 3.13 ] || say "no Python 3.11 or later is here, and uv could not fetch one; a package: sudo apt-get install python3.11"
    fail_with_log "the Python environment could not be made"
}

# Whether this user may write it.
python_writable() { if [ -e "$venv" ]; then [ -w "$venv" ]; else [ -w "$here" ]; fi; }

# Under sudo, make the environment in a user's clone as that user, who must be able to update it.
as_owner() {
    [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] && [ "$(stat -c %u "$here")" = "$SUDO_UID" ] || return 1
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    runuser -u "$SUDO_USER" -- env -u SUDO_UID HOME="$home" "$here/baseforge" --help >/dev/null || exit $?
}
