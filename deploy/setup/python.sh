# shellcheck shell=sh disable=SC2154 # the parts share their variables
# The Python environment: uv makes it from the committed lock.

venv=$here/.venv

# What the environment was made from: the lock, the project, and where (scripts in it hold the path).
python_stamp() { sha256sum "$here/uv.lock" "$here/pyproject.toml"; }

# python_ready GROUPS: whether it is there and made from what is committed; `dev` holds all of `main`.
python_ready() {
    [ -x "$venv/bin/python" ] && [ -r "$venv/baseforge.stamp" ] || return 1
    { read -r made && made_from=$(cat); } <"$venv/baseforge.stamp"
    case $made in "$1" | dev) ;; *) return 1 ;; esac
    [ "$made_from" = "$(python_stamp)" ]
}

# Sets `uv`: one on PATH that is new enough, else our own in the cache.
find_uv() {
    read -r uv_wanted _ <"$here/deploy/setup/uv.txt"
    uv_wanted=${uv_wanted#uv==}
    uv=$cache/uv-$uv_wanted
    [ -x "$uv" ] && return
    uv=$(command -v uv) || return 1
    found=$("$uv" --version 2>/dev/null | awk '{print $2}')
    [ "$(printf '%s\n' "$uv_wanted" "$found" | sort -V | head -n 1)" = "$uv_wanted" ]
}

# Our own uv, checked against the hashes in uv.txt. The one file is moved into place last.
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

# What was cut off may hold half a package, which uv takes for a whole one by its metadata; what was made in another
# folder has scripts that name it. Both begin anew; all else uv brings up to date.
drop_unsound() { grep -qsF "  $here/uv.lock" "$venv/baseforge.stamp" || rm -rf "$venv"; }

# make_python GROUPS
make_python() {
    if as_owner; then return; fi
    find_uv || fetch_uv
    choose_python
    say "making the Python environment"
    drop_unsound
    rm -f "$venv/baseforge.stamp"
    if [ "$1" = dev ]; then set -- dev --dev; else set -- main --no-dev; fi
    # The certificates of the machine: it may have some of its own.
    UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_PROJECT_ENVIRONMENT=$venv logged "$uv" sync --quiet --frozen "$2" \
        --compile-bytecode --project "$here" --python "$python" || python_failed
    { echo "$1" && python_stamp; } >"$venv/baseforge.stamp"
}

python_failed() {
    [ "$python" != 3.13 ] || say "no Python 3.11 or later is here, and uv could not fetch one; a package: sudo apt-get install python3.11"
    fail_with_log "the Python environment could not be made"
}

# Whether we may make it where it belongs.
python_writable() { if [ -e "$venv" ]; then [ -w "$venv" ]; else [ -w "$here" ]; fi; }

# Under sudo the environment in a user's clone is made as that user, who must be able to renew it.
as_owner() {
    [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] && [ "$(stat -c %u "$here")" = "$SUDO_UID" ] || return 1
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    runuser -u "$SUDO_USER" -- env -u SUDO_UID HOME="$home" "$here/baseforge" --help >/dev/null || exit $?
}
