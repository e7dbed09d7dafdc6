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
    for module in $(tool_modules); do
        tools=$(tools_of "$module")
        mkdir -p "$tools" "$state"
        for tool in $(tool_paths "$module"); do [ -x "$tools/${tool##*/}" ] || build_tool "$module" "$tool" "$tools"; done
    done
}

# build_tool MODULE TOOL FOLDER
build_tool() {
    say "building ${2##*/} for the tests"
    stamps=$(in_module "$1" list -f '{{.Module.Path}} {{.Module.Version}}' "$2" 2>>"$log" | stamps_of) &&
        logged in_module "$1" build -trimpath -ldflags "-s -w $stamps" -o "$3/${2##*/}.new" "$2" ||
        fail_with_log "${2##*/} could not be built"
    mv "$3/${2##*/}.new" "$3/${2##*/}"
}

# in_module MODULE WORD...: the go command there.
in_module() {
    folder=$tools_source/$1
    shift
    env CGO_ENABLED=0 GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" GOFLAGS=-buildvcs=false go -C "$folder" "$@"
}

# The version of a tool's module for its linker, in the variables where BuildKit, buildx and Kubernetes look for it: the
# linker takes no notice of those that a program has not. Without it they say that they are v0.0.0.
stamps_of() {
    awk '{
        split(substr($2, 2), number, ".")
        kubernetes = "k8s.io/component-base/version.git"
        print "-X", $1 "/version.Version=" $2, "-X", kubernetes "Version=" $2,
            "-X", kubernetes "Major=" number[1], "-X", kubernetes "Minor=" number[2]
    } END {exit NR != 1}'
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
