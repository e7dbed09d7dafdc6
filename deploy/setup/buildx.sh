# shellcheck shell=sh disable=SC2034,SC2154 # these files share their variables
# buildx, which Dockerfiles and all builders but the engine's own need: the distribution's package, or else built from its module.

buildx_module=./buildx
buildx_folder=/usr/local/lib/docker/cli-plugins # where the docker command looks for what no package brings

# Whether the docker command has it.
buildx_works() { command -v docker >/dev/null && docker buildx version >/dev/null 2>&1; }

# The package that has it, if the machine's archives have one: Debian 13 and Ubuntu call it docker-buildx, Docker's own archive
# docker-buildx-plugin.
buildx_package() {
    apt-cache policy docker-buildx-plugin docker-buildx 2>/dev/null |
        awk '/^[^ ]/ {sub(/:$/, "", $1); name = $1} /Candidate:/ && $2 != "(none)" && !found {found = name} END {print found}'
}

# Bring it: the package is there at once; Debian 12 has none, and building takes minutes.
start_buildx() {
    lists_are_fresh || update_lists
    package=$(buildx_package)
    if [ -n "$package" ]; then
        say "installing $package"
        apt_install "$package" || fail_with_log "apt-get could not install it"
    else
        build_buildx
    fi
    buildx_works || fail_with_log "the docker command still has no buildx"
}

build_buildx() {
    tools_source=$here/deploy/setup tools_for=docker lacking_tools=' buildx'
    prepare_go || exit 3
    (build_module "$buildx_module") || exit $?
    mkdir -p "$buildx_folder"
    install -m 755 "$(tools_of "$buildx_module")/buildx" "$buildx_folder/docker-buildx"
}
