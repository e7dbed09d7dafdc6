# shellcheck shell=sh disable=SC2154 # the parts share their variables
# Programs that no Debian package brings: Go tools modules, each built once and cached. The tests need some; see also buildx.sh.

tools_source=$here/tests/engine/tools
tools_for='the tests' # what messages name
TOOLS_BUILD=1 # raise it when tools must be built again although their modules have not changed: other flags or versions

# find_tools: puts the folders of the tools on PATH, one a module; true when all tools are built. Sets `lacking_tools`, and
# `lacking_modules`, the small one before Kubernetes.
find_tools() {
    lacking_tools='' lacking_modules=''
    for module in $(tool_modules); do
        PATH=$(tools_of "$module"):$PATH
        names=$(lacking_in "$module")
        [ -z "$names" ] || lacking_modules="$lacking_modules $module"
        lacking_tools="$lacking_tools$names"
    done
    [ -z "$lacking_tools" ]
}

# lacking_in MODULE: the names of its tools that are not built, a space before each.
lacking_in() {
    for tool in $(tool_paths "$1"); do [ -x "$(tools_of "$1")/${tool##*/}" ] || printf ' %s' "${tool##*/}"; done
}

# Their folders, as seen from $tools_source.
tool_modules() { [ ! -d "$tools_source" ] || (cd "$tools_source" && find . -name go.mod | sed 's|/go\.mod$||' | sort); }

# tools_of MODULE: where its tools are: another folder whenever the module or TOOLS_BUILD changes.
tools_of() {
    sum=$( (echo "$TOOLS_BUILD" && cat "$tools_source/$1/go.mod" "$tools_source/$1/go.sum") | sha256sum)
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

# prepare_go: true when there is a Go to build with. Without one, and without the rights to install it, say what is missing.
prepare_go() {
    go_is_new && return
    if [ "$(id -u)" != 0 ]; then
        say "these tools for $tools_for are missing:$lacking_tools" \
            "They are built with Go 1.21 or later: put one on PATH, or run this as root."
        return 1
    fi
    install_go
}

# build_module MODULE: all its tools in one go, which shares what they have in common and leaves no core idle.
build_module() {
    tools=$(tools_of "$1") wanted=$(tool_paths "$1")
    private_folder "$state"
    private_folder "$cache"
    mkdir -p "$cache/tools"
    exec 6>>"$cache/tools/lock" # two runs that begin at the same time build once
    flock 6
    names=$(lacking_in "$1")
    [ -n "$names" ] || return 0
    say "building for $tools_for:$names"
    rm -rf "$tools" "$tools.new"
    mkdir -p "$tools.new"
    # shellcheck disable=SC2086 # a list of paths
    total=$(in_module "$1" list -deps $wanted 2>>"$log" | wc -l) &&
        stamps=$(in_module "$1" list -f '{{.Module.Path}} {{.Module.Version}}' $wanted 2>>"$log" | stamps_of) &&
        compile "$1" "$total" -trimpath -ldflags "-s -w $stamps" -o "$tools.new/" $wanted ||
        fail_with_log "they could not be built"
    mv "$tools.new" "$tools"
    say "built:$names"
}

# compile MODULE TOTAL WORD...: go build, with a line about it every half minute. Go names each package that it compiles.
compile() {
    place=$1 total=$2 compiled=$state/tools.log begun=$(date +%s) reported=0
    shift 2
    (umask 077 && : >"$compiled")
    in_module "$place" build -v "$@" </dev/null >"$compiled" 2>&1 6>&- 9>&- &
    compiler=$!
    while kill -0 $compiler 2>/dev/null; do
        sleep 1
        seconds=$(($(date +%s) - begun))
        [ $((seconds / 30)) -gt $reported ] || continue
        reported=$((seconds / 30))
        say "building for $tools_for: $(wc -l <"$compiled") of at most $total packages after $seconds s"
    done
    wait $compiler || { cat "$compiled" >>"$log" && return 1; }
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
