#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Debian 13: its compilers, gcc 14 and clang 19, build library, program, pairs and headers
#         without a warning. The packages of Debian install, upgrade, and leave no file when purged.
# Method: debootstrap makes a Debian 13 below build/, once. There the pairs are compiled by both
#         compilers, slow_packaging_header.sh runs, and make deb builds the packages from the archive.
#         The packages have the version of the release. The upgrade begins from the same packages
#         named 0.3.0~rc1, while the server of the old package runs. Needs root, debootstrap and a
#         mirror.
. tests/support/t.sh
system=${DEBIAN13:-build/debian13}
version=$(sed -n 's/^#define CELLAR_VERSION_[MP][A-Z]* *\([0-9]*\).*/\1/p' include/cellar.h | paste -sd .)
packages="build-essential clang uthash-dev liblz4-dev libsqlite3-dev libssl-dev pkg-config redis-tools
    debhelper lintian"

made() { # the system, unless an earlier run has made it
    [ -f $system/made ] && return
    rm -rf $system
    debootstrap --variant=minbase trixie $system &&
        there apt-get install -y --no-install-recommends $packages && : >$system/made
}
there() { # COMMAND...: in a copy of the tree
    chroot $system env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root \
        sh -c 'mkdir -p /tree && cd /tree && "$@"' there "$@"
}
copied() { # the archive, as a stranger gets it
    $MAKE -s archive >/dev/null && rm -rf $system/tree && mkdir $system/tree &&
        tar -xzf "$(ls -t dist/cellar-*.tar.gz | head -n 1)" --strip-components=1 -C $system/tree
}
pair_is_silent() { # COMPILER STANDARD PAIR
    there "$1" -std="$2" -O2 $t_warn -Idist -c "dist/$3.c" -o /tmp/o.o
}
library_and_program_are_silent() {
    there make -s all LZ4=1 SQLITE=1 TLS=1 >"$t_tmp/said" 2>&1 || { tail "$t_tmp/said"; return 1; }
    ! grep -i warning "$t_tmp/said"
}
packages_are_built() {
    there make deb DEB_VERSION="$version" >"$t_tmp/said" 2>&1 || { tail "$t_tmp/said"; return 1; }
    # libc6 of Debian 13 diverts its loader.
    ! grep -i 'warning:' "$t_tmp/said" | grep -v 'shlibdeps: warning: diversions' &&
        ls $system/tree/build/deb/*.deb
}
lintian_is_silent() {
    there sh -c 'lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs build/deb/*.changes'
}
old_packages() { # the same files under the version of a candidate
    there sh -c 'mkdir -p /old && rm -rf /old/* && for f in build/deb/*.deb; do
        case $f in *dbgsym*) continue ;; esac
        dpkg-deb -R "$f" /old/tree && v=$(dpkg-deb -f "$f" Version) &&
            sed -i "s/$v/0.3.0~rc1-1/" /old/tree/DEBIAN/control && dpkg-deb -b /old/tree /old/$(basename "$f") &&
            rm -r /old/tree || exit 1
    done'
}
files() { # of the system but those that any package changes
    (cd $system && find . -path ./proc -prune -o -path ./tree -prune -o -path ./old -prune -o -path ./tmp -prune -o \
        -path ./var/cache -prune -o -path ./var/log -prune -o -path ./var/lib/dpkg -prune -o \
        -path ./var/lib/apt -prune -o -path ./root -prune -o -print | sort)
}
installed() { # FOLDER of packages
    there sh -c 'dpkg -i $(ls "$1"/*.deb | grep -v dbgsym)' install "$1"
}
programs_are_built() {
    awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' README.md >$system/tmp/app.c
    awk '/^```cpp$/ { on = 1; next } /^```/ { on = 0 } on' README.md >$system/tmp/app.cc
    there sh -c 'cd /tmp && cc app.c $(pkg-config --cflags --libs cellar) -o app_c &&
        c++ -std=c++17 app.cc $(pkg-config --cflags --libs cellar) -o app_cc &&
        cc app.c -static-libgcc /usr/lib/*/libcellar.a $(pkg-config --static --libs cellar) -o app_a &&
        [ "$(./app_c | tr "\n" " ")" = "Grace Ada Ada " ] && [ "$(./app_cc)" = Ada ] && ./app_a'
}
# The server of the old package runs through the upgrade; the one of the new package has its entries.
upgrade_keeps_entries() {
    there sh -c 'mkdir -p /var/lib/cellar && ask() { redis-cli -s /tmp/s "$@"; }
        set -a && . /etc/cellar/cellar.conf && set +a
        begin() { cellar serve --port=0 --unix=/tmp/s --l2=/var/lib/cellar --l2-bytes=64M \
            >/tmp/ready & pid=$!
            n=0; until [ "$(ask ping 2>/dev/null)" = PONG ]; do n=$((n + 1)); [ $n -lt 1000 ] || exit 1; sleep .02; done; }
        finish() { kill -TERM $pid && wait $pid; }
        rm -f /tmp/s; chmod 700 /tmp; trap "kill -KILL \$pid 2>/dev/null; chmod 1777 /tmp" EXIT
        begin && [ "$(ask set a 1)" = OK ] &&
        dpkg -i $(ls build/deb/*.deb | grep -v dbgsym) && [ "$(ask get a)" = 1 ] && finish &&
        begin && [ "$(ask get a)" = 1 ] && finish && cellar inspect /var/lib/cellar >/tmp/inspected'
}
removed_and_purged() {
    there dpkg -r cellar libcellar-dev libcellar3 && [ -f $system/etc/cellar/cellar.conf ] &&
        there dpkg -P cellar libcellar-dev libcellar3 && files >"$t_tmp/after" && diff "$t_tmp/before" "$t_tmp/after"
}

if [ "$(id -u)" != 0 ] || ! t_have debootstrap; then
    t_skip compilers_of_debian_13 "not root, or no debootstrap"
elif ! made >"$t_tmp/said" 2>&1; then
    t_skip compilers_of_debian_13 "$(tail -n 1 "$t_tmp/said")"
else
    t_case tree_is_there copied
    for compiler in gcc clang; do
        for pair in cellar cellar_all; do
            for std in c11 gnu17; do
                t_case "${pair}_in_${std}_$compiler" pair_is_silent $compiler $std $pair
            done
        done
    done
    t_case headers_of_the_pairs_and_the_library there env FULL=1 sh tests/package/slow_packaging_header.sh
    t_case library_and_program_are_silent library_and_program_are_silent
    t_case packages_are_built packages_are_built
    t_case lintian_is_silent lintian_is_silent
    t_case older_packages_are_made old_packages
    files >"$t_tmp/before"
    t_case packages_are_installed installed /old
    t_case programs_of_readme_are_built programs_are_built
    t_case upgrade_of_a_running_server_keeps_entries upgrade_keeps_entries
    t_case purge_leaves_no_file removed_and_purged
fi
t_end matrix_debian13
