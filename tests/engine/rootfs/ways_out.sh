#!/bin/sh
# Tries every way out of a sandbox: each line that is printed names one, and says whether it was open or shut.
# The values come from the test: a file, a folder, a socket, processes and the like of the machine around.
. ./values 2>/dev/null || . /values
way() {
    name=$1
    shift
    if ("$@") </dev/null >/dev/null 2>&1; then echo "open: $name"; else echo "shut: $name"; fi
}
shell() { name=$1 && shift && way "$name" sh -c "$@"; }

way "read a file of the machine" cat "$CANARY"
way "read a file of the machine above the root" cat "../../../../../../../../..$CANARY"
way "read a file of the machine through process 1" cat "/proc/1/root$CANARY"
way "read a file of the machine through a process of it" cat "/proc/$PROCESS/root$CANARY"
shell "read the machine's passwords" "grep -q '^$MARK:' /etc/shadow"
way "write to a folder of the machine" touch "$STORE/found"
way "see Docker's socket" test -S /run/docker.sock
way "see a socket of the machine" test -S "$SOCKET"
way "see the machine's shared memory" test -e "$SHARED"
way "see a segment of System V shared memory" sh -c "ipcs --shmems | grep -q '^0x[0-9a-f]* *$SEGMENT '"
way "escape from a chroot" perl -e 'mkdir "/tmp/c"; chroot("/tmp/c") or exit 1; chdir("..") for 1..64; chroot("."); exit(!-e $ARGV[0])' "$CANARY"
way "mount" mount -t tmpfs tmpfs /tmp
way "mount again" mount -o remount,rw /
way "unmount" umount /proc
way "unmount what covers the kernel's settings" umount -l /proc/sys
way "new mount namespace" unshare --mount true
shell "mount in a user namespace of one's own" \
    "unshare --user --map-root-user --mount sh -c 'umount -l /proc; umount -l /; mount -t tmpfs t /tmp; cat $CANARY'"
way "new user namespace" unshare --user true
shell "mount in a user namespace" "unshare --user --map-root-user --mount mount -t tmpfs t /tmp"
way "enter the namespaces of process 1" nsenter --target=1 --mount --net test -e "$CANARY"
shell "make a disk and read it" "cd /tmp && mknod disk b $DISK && head -c 1 disk"
shell "make a disk in the root and read it" "cd \"\$HOME\" && mknod disk b $DISK && head -c 1 disk"
shell "find a disk" 'ls /dev | grep -v "^\(console\|core\|fd\|full\|null\|ptmx\|pts\|random\|shm\|std.*\|tty\|urandom\|zero\)$"'
shell "change a setting of the kernel" 'cat /proc/sys/kernel/core_pattern >/proc/sys/kernel/core_pattern'
shell "change a setting of the kernel's memory" 'cat /proc/sys/vm/swappiness >/proc/sys/vm/swappiness'
shell "press SysRq" 'echo h >/proc/sysrq-trigger'
shell "read the kernel's memory" 'test -n "$(head -c 1 /proc/kcore)"'
shell "see /sys" 'test -e /sys/kernel'
shell "see control groups" 'ls /sys/fs/cgroup/*'
way "signal a process of the machine" kill -0 "$PROCESS"
shell "see processes of the machine" "grep -qs '[c]${MARK#c}-process' /proc/[0-9]*/cmdline"
way "set the host name" hostname elsewhere
way "set the time" date --set "$(date)"
way "send packets of its own making" perl -MSocket -e 'socket(my $s, AF_INET, SOCK_RAW, 1) or exit 1'
way "reach a server of the machine" perl -MSocket -e 'socket(my $s, AF_INET, SOCK_STREAM, 0); connect($s, sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) or exit 1' "$PORT"
way "reach an abstract socket" perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack("Sa*", AF_UNIX, "\0$ARGV[0]")) or exit 1' "$MARK"
way "read a key of the user" perl -e 'exit(syscall($ARGV[0], 11, -4, 0, 0) < 0)' "$KEYCTL"
way "load a module" perl -e 'exit(syscall($ARGV[0], -1, "", 0) == 0 || $! != 1 ? 0 : 1)' "$FINIT_MODULE"
shell "have more capabilities" "! grep -q '^CapEff:.*$CAPABILITIES\$' /proc/self/status"
shell "get more capabilities" 'grep -q "^NoNewPrivs:.*0$" /proc/self/status'
for each in cgroup ipc mnt net pid uts; do
    shell "be in the machine's $each namespace" "readlink /proc/self/ns/$each | grep -qxF '$(eval echo "\$NS_$each")'"
done
