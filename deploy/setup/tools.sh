# shellcheck shell=sh disable=SC2154 # the parts share their variables
# Programs that only the tests need and that no Debian package brings: Go tools modules, each built once and cached.

tools_source=$here/tests/engine/tools

# find_tools: puts the folders of built tools on PATH, one a module; true when all of them are there. Sets `lacking_tools`.
find_tools() {
    lacking_tools=''
    for module in $(tool_modules); do
        tools=$(tools_of "$module")
        PATH=$tools:$PATH
        for tool in $(tool_paths "$module"); do
            [ -x "$tools/${tool##*/}" ] || lacking_tools="$lacking_tools ${tool##*/}"
        done
    done
    [ -z "$lacking_tools" ]
}

# Their folders, as seen from $tools_source.
tool_modules() { [ ! -d "$tools_source" ] || (cd "$tools_source" && find . -name go.mod | sed 's|/go\.mod$||' | sort); }

# tools_of MODULE: where its tools are, another folder whenever they or how they are built (this file) change.
tools_of() {
    sum=$(cat "$tools_source/$1/go.mod" "$tools_source/$1/go.sum" "$here/deploy/setup/tools.sh" | sha256sum)
    printf '%s' "$cache/tools/${sum%% *}"
}

# tool_paths MODULE: its `tool` lines, one by one or as a block.
tool_paths() {
    awk '$1 == "tool" && $2 != "(" {print $2} /^tool \(/ {block = 1; next} block && /^\)/ {exit} block {print $1}' \
        "$tools_source/$1/go.mod"
}

# Whether this Go can build them: from 1.21 on it fetches the very toolchain that the module names.
go_is_new() {
    go=$(go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.21 "$go" | sort -V | head -n 1)" = go1.21 ]
}

# Builds what is missing. Without a Go, and without the rights to install one, the tests say what they miss.
build_tools() {
    if ! go_is_new; then
        if [ "$(id -u)" != 0 ]; then
            say "these tools of the tests are missing:$lacking_tools" \
                "They are built with Go 1.21 or later: put one on PATH, or run this as root."
            return
        fi
        install_go
    fi
    for module in $(tool_modules); do build_module "$module"; done
}

# build_module MODULE: all its tools in one go, which shares what they have in common and leaves no core idle.
build_module() {
    tools=$(tools_of "$1") wanted=$(tool_paths "$1") names=''
    for tool in $wanted; do [ -x "$tools/${tool##*/}" ] || names="$names ${tool##*/}"; done
    [ -n "$names" ] || return 0
    say "building for the tests:$names"
    rm -rf "$tools" "$tools.new"
    private_folder "$state"
    mkdir -p "$tools.new"
    # shellcheck disable=SC2086 # a list of paths
    stamps=$(in_module "$1" list -f '{{.Module.Path}} {{.Module.Version}}' $wanted 2>>"$log" | stamps_of) &&
        logged in_module "$1" build -trimpath -ldflags "-s -w $stamps" -o "$tools.new/" $wanted ||
        fail_with_log "they could not be built"
    mv "$tools.new" "$tools"
}

# in_module MODULE WORD...: the go command there.
in_module() {
    folder=$tools_source/$1
    shift
    env CGO_ENABLED=0 GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" GOFLAGS=-buildvcs=false go -C "$folder" "$@"
}

# The versions of the tools' modules for the linker, in the variables where BuildKit, buildx and Kubernetes look for theirs:
# it takes no notice of those that a program has not. Without them they say that they are v0.0.0.
stamps_of() {
    awk 'seen[$1]++ {next}
        {printf "-X %s/version.Version=%s ", $1, $2}
        $1 == "k8s.io/kubernetes" {
            split(substr($2, 2), number, ".")
            place = "k8s.io/component-base/version.git"
            printf "-X %sVersion=%s -X %sMajor=%s -X %sMinor=%s ", place, $2, place, number[1], place, number[2]
        }
        END {exit NR == 0}'
}

# Debian 12 and Ubuntu 22.04 have one that is too old; their backports may have a newer one.
install_go() {
    lists_are_fresh || update_lists
    candidate=$(apt-cache policy golang-go | awk '/Candidate:/ {print $2}')
    if dpkg --compare-versions "$candidate" ge 2:1.21~; then
        say "installing golang-go"
        apt_install golang-go ca-certificates || fail_with_log "apt-get could not install it"
    else
        install_later golang-go
    fi
}
