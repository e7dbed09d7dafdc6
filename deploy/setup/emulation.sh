# shellcheck shell=sh disable=SC2154 # the parts share their variables
# Programs of other machines: QEMU, registered with the kernel so that it runs them in containers, too.

EMULATION_PACKAGES="qemu-user-static arch-test"
binfmt=/proc/sys/fs/binfmt_misc

# Whether they run here: tried out where the kernel can be asked, for the machine that most images are made for besides.
emulation_works() {
    command -v arch-test >/dev/null || return 1
    case $(dpkg --print-architecture) in arm64) foreign=amd64 ;; *) foreign=arm64 ;; esac
    arch-test "$foreign" >/dev/null 2>&1 && registered "$foreign"
}

# registered ARCHITECTURE: whether its emulator was opened when it was registered (flag F), as containers do not have it.
registered() {
    case $1 in arm64) name=qemu-aarch64 ;; amd64) name=qemu-x86_64 ;; esac
    grep --quiet '^flags:.*F' "$binfmt/$name" 2>/dev/null || arch-test -n "$1" >/dev/null 2>&1
}

# What the package leaves to systemd, done by hand where that does not run. The kernel takes one line at a time.
start_emulation() {
    say "registering QEMU for other platforms"
    if [ -d /run/systemd/system ]; then
        logged systemctl restart systemd-binfmt || true
    else
        [ -e "$binfmt/register" ] || logged mount -t binfmt_misc binfmt_misc "$binfmt" || true
        [ ! -w "$binfmt/status" ] || echo 1 >"$binfmt/status" # a test that was killed may have switched all of it off
        for file in /usr/lib/binfmt.d/qemu-*.conf; do
            name=${file##*/}
            [ -e "$binfmt/${name%.conf}" ] || [ ! -w "$binfmt/register" ] || cat "$file" >"$binfmt/register" 2>>"$log" || true
        done
    fi
    emulation_works || fail_with_log "programs of other machines do not run here"
}
