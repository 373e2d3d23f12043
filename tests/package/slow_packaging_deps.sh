#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The dependency script explains itself without root, does nothing with DEPS=off, and never
#         lists an installed package.
# Method: Run with a compiler that finds nothing, as another user, and under strace.
. tests/support/t.sh
blind='CPPFLAGS=-nostdinc'

print_explains() {
    env DEPS=print $blind sh src/tools/deps.sh build >"$t_tmp/said" 2>&1
    status=$?
    cat "$t_tmp/said"
    [ $status -eq 2 ] &&
        grep -q '^deps: needed and missing: uthash-dev (header uthash.h' "$t_tmp/said" &&
        grep -q '^deps: optional and missing: libmimalloc-dev (without it: m' "$t_tmp/said" &&
        grep -q '^deps: as root I would run: apt-get install -y --no-install' "$t_tmp/said"
}
without_root() {
    mkdir -p "$t_tmp/as/src/tools" && cp src/tools/deps.sh "$t_tmp/as/src/tools" &&
        chmod -R a+rX "$t_tmp" || return 1
    (cd "$t_tmp/as" && TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups \
        env $blind sh src/tools/deps.sh build) >"$t_tmp/said" 2>&1
    status=$?
    cat "$t_tmp/said"
    [ $status -eq 2 ] && grep -q 'as root I would run' "$t_tmp/said" && ! grep -q sudo "$t_tmp/said"
}
off_is_silent() {
    out=$(env DEPS=off $blind sh src/tools/deps.sh build 2>&1) && [ -z "$out" ]
}
off_touches_nothing() {
    strace -f -e trace=execve -o "$t_tmp/trace" env DEPS=off $blind sh src/tools/deps.sh build || return 1
    ! grep -E 'execve\("([^"]*/)?[^"/]*(apt|dpkg|cc|gcc|sudo)[^"/]*"' "$t_tmp/trace"
}
print_starts_no_package_tool() {
    strace -f -e trace=execve -o "$t_tmp/trace" env DEPS=print $blind sh src/tools/deps.sh build
    ! grep -E 'execve\("[^"]*/(apt-get|dpkg|sudo)"' "$t_tmp/trace"
}
present_is_not_listed() {
    env DEPS=print sh src/tools/deps.sh build >"$t_tmp/said" 2>&1
    cat "$t_tmp/said"
    ! grep -E 'missing: (make|gcc|uthash-dev) ' "$t_tmp/said"
}
each_row_is_used() { # that asks for a word of the source
    sed -n 's/.*|\([^|]*[^|]\)$/\1/p' src/tools/deps.sh | while read -r word; do
        case $word in *[!a-z0-9./]*) continue ;; esac
        cat src/*/*.[ch] src/*/*/*.[ch] | grep -qF "$word" || { echo "no file has $word"; exit 1; }
    done
}
# One sentence that names the package, before any file is compiled.
make_names_the_package_of_uthash() {
    $MAKE -s lib CPPFLAGS=-nostdinc >"$t_tmp/said" 2>&1
    status=$?
    rm -rf "$($MAKE -s where CPPFLAGS=-nostdinc)"
    cat "$t_tmp/said"
    [ $status -eq 2 ] && [ "$(grep -c 'uthash' "$t_tmp/said")" -eq 2 ] &&
        grep -q '^uthash.h is missing: install the package uthash-dev (as root: make deps)' "$t_tmp/said" &&
        ! grep -q 'No such file\|^CC' "$t_tmp/said"
}
unknown_group() { sh src/tools/deps.sh nonsense; [ $? -eq 2 ]; }
no_service_is_installed() { # rule: a daemon would start on installation
    for group in bench check; do
        env DEPS=print $blind sh src/tools/deps.sh $group
    done | grep 'would run' >"$t_tmp/said"
    [ -s "$t_tmp/said" ] && ! grep -E 'redis-server|prometheus' "$t_tmp/said"
}

# apt-get that cannot install several packages in one call: the remaining packages must be
# installed.
one_bad_package() {
    mkdir -p "$t_tmp/bin"
    printf '%s\n' '#!/bin/sh' 'echo 0' >"$t_tmp/bin/id"
    printf '%s\n' '#!/bin/sh' 'echo "  Candidate: 1"' >"$t_tmp/bin/apt-cache"
    printf '%s\n' '#!/bin/sh' 'shift 4' "echo \"\$*\" >>$t_tmp/installed" '[ $# -eq 1 ]' \
        >"$t_tmp/bin/apt-get"
    chmod +x "$t_tmp/bin/"*
    env $blind PATH="$t_tmp/bin:$PATH" sh src/tools/deps.sh build
    status=$?
    cat "$t_tmp/installed"
    [ $status -eq 2 ] && grep -q '^gcc .*libmimalloc-dev' "$t_tmp/installed" &&
        grep -qx 'libmimalloc-dev' "$t_tmp/installed"
}

t_case deps_print_explains print_explains
if [ "$(id -u)" = 0 ] && t_have setpriv; then t_case deps_without_root_explains without_root
else t_skip deps_without_root_explains "not root, or no setpriv"; fi
t_case deps_off_says_nothing off_is_silent
if t_have strace && strace -o /dev/null true 2>/dev/null; then
    t_case deps_off_touches_nothing off_touches_nothing
    t_case deps_print_starts_no_package_tool print_starts_no_package_tool
else
    t_skip deps_off_touches_nothing "no strace, or not allowed"
fi
t_case deps_present_is_not_listed present_is_not_listed
t_case deps_one_bad_package_does_not_stop_the_rest one_bad_package
t_case deps_unknown_group_is_refused unknown_group
t_case deps_each_row_is_used each_row_is_used
t_case make_names_the_package_of_uthash make_names_the_package_of_uthash
t_case deps_no_service_is_installed no_service_is_installed
t_end packaging_deps
