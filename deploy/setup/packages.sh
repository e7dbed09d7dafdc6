# shellcheck shell=sh disable=SC2034,SC2154 # the parts share their variables
# Debian packages: which are missing, and how they come without touching the machine's apt sources.

# What builds need. `hello` is compiled with gcc; uidmap is for builds without root; bubblewrap is the sandbox.
MACHINE_PACKAGES="mmdebstrap debootstrap skopeo gpgv debian-archive-keyring ubuntu-keyring distro-info-data
    gcc libc6-dev ca-certificates util-linux mount uidmap tar bubblewrap"

# missing_packages PACKAGE...: those of them that are not installed. A machine without dpkg is left to `doctor`.
missing_packages() {
    [ $# -gt 0 ] && command -v dpkg-query >/dev/null || return 0
    installed=$(dpkg-query --show --showformat='${db:Status-Status}=${Package} ' "$@" 2>/dev/null) || true
    lacking=''
    for package in "$@"; do
        case " $installed $lacking " in *" installed=$package "* | *" $package "*) ;; *) lacking="$lacking $package" ;; esac
    done
    printf '%s' "${lacking# }"
}

# Whether debootstrap, if it is there, knows noble. Debian 12's does not, its backports' does; Ubuntu has no newer ones.
suite_scripts() {
    [ -e /usr/share/debootstrap/scripts/noble ] || [ ! -d /usr/share/debootstrap/scripts ] ||
        ! grep --quiet '^ID=debian$' /etc/os-release
}

# Installs $wanted_packages, and a newer debootstrap where this one does not know our suites.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C
    finish_dpkg
    now='' later='' updated=''
    if [ -n "$wanted_packages" ]; then
        lists_are_fresh || update_lists
        split_packages
        [ -z "$later" ] || [ -n "$updated" ] || { update_lists && split_packages; }
    fi
    if [ -n "$now" ]; then
        say "installing $now"
        # shellcheck disable=SC2086 # a list of names
        apt_install $now || { update_lists && apt_install $now; } || fail_with_log "apt-get could not install them"
    fi
    suite_scripts || later="${later:+$later }debootstrap"
    # shellcheck disable=SC2086 # a list of names
    [ -z "$later" ] || install_later $later
}

# An interrupted dpkg left work to do: apt refuses to go on before that is done. It may even be at work still.
finish_dpkg() {
    tries=120
    [ -n "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || return 0
    until logged dpkg --configure -a; do
        tail -n 4 "$log" | grep --quiet 'database lock' && [ $tries -gt 0 ] || return 0
        tries=$((tries - 1))
        sleep 1
    done
}

# Sorts the missing packages into `now` (the machine's own archives have them) and `later` (they do not).
split_packages() {
    # shellcheck disable=SC2086 # a list of names
    set -- $wanted_packages
    case " $* " in *" docker.io "*) command -v docker >/dev/null || set -- "$@" docker-cli ;; esac
    known=:$(apt-cache policy "$@" | awk '/^[^ ]/ {name = $1} /Candidate:/ && $2 != "(none)" {printf "%s", name}')
    now='' later=''
    for package in "$@"; do
        case $known in
        *":$package:"*) now="${now:+$now }$package" ;;
        *) [ "$package" = docker-cli ] || later="${later:+$later }$package" ;; # part of docker.io before Debian 13, and on Ubuntu
        esac
    done
}

# Whether apt's lists are there and were fetched within a day.
lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)" ] &&
        [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mmin -1440 2>/dev/null)" ]
}

# One archive that fails (a third party's, say) is no reason to stop: if it mattered, the install fails.
update_lists() {
    say "reading the archives' package lists"
    logged apt-get --quiet=2 update || true
    updated=yes
}

# apt_install [OPTION...] PACKAGE...: never removes a package (another vendor's engine) to make room, never asks.
apt_install() {
    logged apt-get --quiet=2 --yes --no-remove --no-install-recommends -o DPkg::Lock::Timeout=600 \
        -o DPkg::Options::=--force-confdef -o DPkg::Options::=--force-confold install "$@"
}

# install_later PACKAGE...: what only a later suite has (on Debian 12 Ubuntu's keyring, and a debootstrap that knows
# noble) comes from the backports of the machine's own archive, through an apt configuration that is gone afterwards.
install_later() (
    # shellcheck disable=SC1091
    . /etc/os-release
    release=${VERSION_CODENAME:-}
    # shellcheck disable=SC2016 # apt's own variables
    site=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" {print $1; exit}')
    [ -n "$site" ] || fail "the archives of this machine do not have $*" "See apt's sources in /etc/apt, or install by hand."
    say "installing $* from $release-backports"
    umask 022 # apt reads all this as a user of its own
    private=$(mktemp -d)
    trap 'rm -rf "$private"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    chmod 755 "$private"
    mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
    keyring=/usr/share/keyrings/$ID-archive-keyring.gpg
    if [ -e "$keyring" ]; then option="[signed-by=$keyring]"; else option=''; fi
    printf 'deb %s %s %s main\n' "$option" "$site" "$release-backports" >"$private/backports.list"
    # For what these need besides, apt knows the machine's own archives too.
    cp -a /var/lib/apt/lists/. "$private/lists"
    cat /etc/apt/sources.list "$private/backports.list" >"$private/all.list" 2>/dev/null || true
    logged apt-get --quiet=2 -o "Dir::State::Lists=$private/lists" -o "Dir::Etc::SourceList=$private/backports.list" \
        -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=false update || fail_with_log "apt-get could not read $release-backports"
    apt_install -o "Dir::State::Lists=$private/lists" -o "Dir::Etc::SourceList=$private/all.list" -o "Dir::Cache=$private/cache" \
        --target-release "$release-backports" "$@" || fail_with_log "apt-get could not install them"
    suite_scripts || fail "the debootstrap of $release-backports does not know noble" "Install a newer one by hand."
)
