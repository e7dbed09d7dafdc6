# shellcheck shell=sh disable=SC2154 # the parts share their variables
# Programs that only the tests need and that no Debian package brings: a Go tools module, built once and cached.

tools_module=$here/tests/engine/tools

# find_tools: puts the folder of built tools on PATH; true when all of them are there.
find_tools() {
    [ -e "$tools_module/go.mod" ] || return 0
    tools=$(cat "$tools_module/go.mod" "$tools_module/go.sum" | sha256sum)
    tools=$cache/tools/${tools%% *}
    PATH=$tools:$PATH
    for tool in $(tool_paths); do [ -x "$tools/${tool##*/}" ] || return 1; done
}

# The module's `tool` lines, one by one or as a block.
tool_paths() { awk '$1 == "tool" && $2 != "(" {print $2} /^tool \(/ {block = 1; next} block && /^\)/ {exit} block {print $1}' "$tools_module/go.mod"; }

# Whether this Go can build them: from 1.21 on it fetches the very toolchain that the module names.
go_is_new() {
    go=$(go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.21 "$go" | sort -V | head -n 1)" = go1.21 ]
}

build_tools() {
    go_is_new || install_go
    mkdir -p "$tools"
    for tool in $(tool_paths); do
        name=${tool##*/}
        [ ! -x "$tools/$name" ] || continue
        say "building $name for the tests"
        logged env CGO_ENABLED=0 GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" GOFLAGS=-buildvcs=false \
            go -C "$tools_module" build -trimpath -o "$tools/$name.new" "$tool" || fail_with_log "$name could not be built"
        mv "$tools/$name.new" "$tools/$name"
    done
}

# Debian 12 and Ubuntu 22.04 have one that is too old; their backports may have a newer one.
install_go() {
    [ "$(id -u)" = 0 ] || fail "the tests' tools are built with Go 1.21 or later" "Put one on PATH, or run this as root."
    lists_are_fresh || update_lists
    candidate=$(apt-cache policy golang-go | awk '/Candidate:/ {print $2}')
    if dpkg --compare-versions "$candidate" ge 2:1.21~; then
        say "installing golang-go"
        apt_install golang-go ca-certificates || fail_with_log "apt-get could not install it"
    else
        install_later golang-go
    fi
}
