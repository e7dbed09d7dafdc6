# shellcheck shell=sh disable=SC2034,SC2154 # these files share their variables
# Debian packages: find the missing ones, and install them without changing the machine's apt sources.

# What builds need. gcc compiles `hello`, uidmap is for builds without root, bubblewrap is the sandbox.
MACHINE_PACKAGES="mmdebstrap debootstrap skopeo gpgv debian-archive-keyring ubuntu-keyring distro-info-data
    gcc libc6-dev ca-certificates util-linux mount uidmap tar bubblewrap"

# missing_packages PACKAGE...: print those that are not installed. On a machine without dpkg print none; `doctor` looks further.
missing_packages() {
    [ $# -gt 0 ] && command -v dpkg-query >/dev/null || return 0
    installed=$(dpkg-query --show --showformat='${db:Status-Status}=${Package} ' "$@" 2>/dev/null) || true
    lacking=''
    for package in "$@"; do
        case " $installed $lacking " in *" installed=$package "* | *" $package "*) ;; *) lacking="$lacking $package" ;; esac
    done
    printf '%s' "${lacking# }"
}

# Whether debootstrap, if installed, knows noble. Debian 12's does not, but that of its backports does. Ubuntu has no newer one.
suite_scripts() {
    [ -e /usr/share/debootstrap/scripts/noble ] || [ ! -d /usr/share/debootstrap/scripts ] ||
        ! grep --quiet '^ID=debian$' /etc/os-release
}

# Install $wanted_packages, and a newer debootstrap if this one does not know our suites.
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

# Complete the work of an interrupted dpkg, because apt refuses to start before. That dpkg may even still run.
finish_dpkg() {
    tries=120
    [ -n "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || return 0
    until logged dpkg --configure -a; do
        tail -n 4 "$log" | grep --quiet 'database lock' && [ $tries -gt 0 ] || return 0
        tries=$((tries - 1))
        sleep 1
    done
}

# Sort the missing packages into `now` (the machine's own archives have them) and `later` (they do not).
split_packages() {
    # shellcheck disable=SC2086 # a list of names
    set -- $wanted_packages
    case " $* " in *" docker.io "*) command -v docker >/dev/null || set -- "$@" docker-cli ;; esac
    known=:$(apt-cache policy "$@" | awk '/^[^ ]/ {name = $1} /Candidate:/ && $2 != "(none)" {printf "%s", name}')
    now='' later=''
    for package in "$@"; do
        case $known in
        *":$package:"*) now="${now:+$now }$package" ;;
        *) [ "$package" = docker-cli ] || later="${later:+$later }$package" ;; # docker.io contains it before Debian 13 and on Ubuntu
        esac
    done
}

# Whether apt's lists exist and are at most a day old.
lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)" ] &&
        [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mmin -1440 2>/dev/null)" ]
}

# An archive that fails (such as a third party's) does not stop us: if we need it, the installation fails.
update_lists() {
    say "reading the archives' package lists"
    logged apt-get --quiet=2 update || true
    updated=yes
}

# apt_install [OPTION...] PACKAGE...: install without questions. Never remove a package, such as another vendor's engine.
apt_install() {
    logged apt-get --quiet=2 --yes --no-remove --no-install-recommends -o DPkg::Lock::Timeout=600 \
        -o DPkg::Options::=--force-confdef -o DPkg::Options::=--force-confold install "$@"
}

# install_later PACKAGE...: install what only a later suite has (on Debian 12: Ubuntu's keyring, and a debootstrap that
# knows noble) from the backports of the machine's own archive, with a temporary apt configuration.
install_later() (
    # shellcheck disable=SC1091
    . /etc/os-release
    release=${VERSION_CODENAME:-}
    # shellcheck disable=SC2016 # apt's own variables
    site=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" {print $1; exit}')
    [ -n "$site" ] || fail "the archives of this machine do not have $*" "See apt's sources in /etc/apt, or install by hand."
    say "installing $* from $release-backports"
    umask 022 # apt reads these files as its own user
    private=$(mktemp -d)
    trap 'rm -rf "$private"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    chmod 755 "$private"
    mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
    keyring=/usr/share/keyrings/$ID-archive-keyring.gpg
    if [ -e "$keyring" ]; then option="[signed-by=$keyring]"; else option=''; fi
    printf 'deb %s %s %s main\n' "$option" "$site" "$release-backports" >"$private/backports.list"
    # Their dependencies come from the machine's own archives.
    cp -a /var/lib/apt/lists/. "$private/lists"
    cat /etc/apt/sources.list "$private/backports.list" >"$private/all.list" 2>/dev/null || true
    logged apt-get --quiet=2 -o "Dir::State::Lists=$private/lists" -o "Dir::Etc::SourceList=$private/backports.list" \
        -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=false update || fail_with_log "apt-get could not read $release-backports"
    apt_install -o "Dir::State::Lists=$private/lists" -o "Dir::Etc::SourceList=$private/all.list" -o "Dir::Cache=$private/cache" \
        --target-release "$release-backports" "$@" || fail_with_log "apt-get could not install them"
    suite_scripts || fail "the debootstrap of $release-backports does not know noble" "Install a newer one by hand."
)
