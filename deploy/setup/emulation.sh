# shellcheck shell=sh disable=SC2154 # these files share their variables
# Programs of other architectures: QEMU, registered with the kernel so that it also runs them in containers.

EMULATION_PACKAGES="qemu-user-static arch-test"
binfmt=/proc/sys/fs/binfmt_misc

# Whether they run here: try the architecture that most images are built for in addition.
emulation_works() {
    command -v arch-test >/dev/null || return 1
    case $(dpkg --print-architecture) in arm64) foreign=amd64 ;; *) foreign=arm64 ;; esac
    arch-test "$foreign" >/dev/null 2>&1 && registered "$foreign"
}

# registered ARCHITECTURE: whether the kernel opened its emulator at registration (flag F): containers do not have the file.
registered() {
    case $1 in arm64) name=qemu-aarch64 ;; amd64) name=qemu-x86_64 ;; esac
    grep --quiet '^flags:.*F' "$binfmt/$name" 2>/dev/null || arch-test -n "$1" >/dev/null 2>&1
}

# Register what the package leaves to systemd, also if systemd does not run. The kernel takes one line at a time.
start_emulation() {
    say "registering QEMU for other platforms"
    if [ -d /run/systemd/system ]; then
        logged systemctl restart systemd-binfmt || true
    else
        [ -e "$binfmt/register" ] || logged mount -t binfmt_misc binfmt_misc "$binfmt" || true
        [ ! -w "$binfmt/status" ] || echo 1 >"$binfmt/status" # a killed test may have switched it off
        for file in /usr/lib/binfmt.d/qemu-*.conf; do
            name=${file##*/}
            [ -e "$binfmt/${name%.conf}" ] || [ ! -w "$binfmt/register" ] || cat "$file" >"$binfmt/register" 2>>"$log" || true
        done
    fi
    emulation_works || fail_with_log "programs of other machines do not run here"
}
