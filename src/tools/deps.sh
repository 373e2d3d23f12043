#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deps: finds out what the machine lacks for one group of targets and, where it may, installs it.
#
# USE        sh src/tools/deps.sh build|test|check|bench|torture     (`make deps GROUP=...`)
#            CC CPPFLAGS LDFLAGS as for the build; DEPS=off never touches or probes the system,
#            DEPS=print says what it would run and stops there
# WALK       probe every row of the table -> nothing missing: "deps: ok", stamp, end
#            root with apt-get: install in one go; where that fails, needed ones, then the optional
#            ones one by one, so that one package that cannot be had does not take the rest with it
#            -> probe again -> needed and still missing: the compiler's own message, exit 2
#            not root: say what is missing, what is lost, the exact command; exit 2 if needed
# RULES      the package manager is not asked: a header is preprocessed, a library
#            linked, a tool looked up in PATH. So hand-made installations and other systems count.
#            Nothing present is put on the list, so nothing present is upgraded. No service may
#            start on this machine: prometheus is unpacked below build/peers, never
#            installed.
#            No sudo, and nothing from outside the distribution.
# STAMP      build/.deps-GROUP-CHECKSUM (compiler, flags, this file): later runs cost nothing.
# TABLE      package | groups | needed or optional | probe | argument | what is lost | used by
#            A row with a word in the last column counts only when a source file has that word:
#            nothing is asked for on behalf of a part that is not in the tree.
set -u
LC_ALL=C
export LC_ALL

table='
gcc|build test check bench torture|needed|cc||
make|build test check bench torture|needed|tool|make|
uthash-dev|build test check bench torture|needed|header|uthash.h|
libmimalloc-dev|build test check bench torture|optional|link|mimalloc.h -lmimalloc|malloc instead of mimalloc
liblz4-dev|build test check bench torture|optional|link|lz4.h -llz4|no compression|lz4.h
libsqlite3-dev|build test check bench torture|optional|link|sqlite3.h -lsqlite3|no journal of tasks|sqlite3.h
python3-dev|test check|optional|glob|/usr/include/python3*/Python.h|the package for Python is not built and not tried
g++|check torture|optional|tool|g++|C++ callers are skipped
clang|check torture|optional|tool|clang|the second compiler is skipped
cmake|check torture|optional|tool|cmake|the CMake consumer is skipped
meson|check torture|optional|tool|meson|the Meson wrap is skipped
pkg-config|check torture|optional|tool|pkg-config|the pkg-config consumer is skipped
python3|check torture|optional|tool|python3|checks written in Python are skipped
musl-tools|check torture|optional|tool|musl-gcc|the static musl build is skipped
gcc-12-multilib|check torture|optional|m32||the 32-bit build is skipped
clang-19|check torture|optional|tool|clang-19|the third compiler is skipped
libclang-rt-19-dev|check torture|optional|glob|/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.tsan*|clang 19 has no sanitizers
llvm-19|check torture|optional|tool|llvm-symbolizer-19|sanitizer reports without names
python3-croniter|check torture|optional|python|croniter|cron expressions are not compared with croniter
curl|check torture|optional|tool|curl|admin pages are not tried with curl
valgrind|check bench torture|optional|tool|valgrind|valgrind runs are skipped
spin|check torture|optional|tool|spin|the models are skipped
patch|check torture|optional|tool|patch|the mutants are skipped
debootstrap|check torture|optional|tool|debootstrap|the compilers of Debian 13 are not tried
strace|check torture|optional|tool|strace|checks of system calls are skipped
cppcheck|check torture|optional|tool|cppcheck|one static analyser is skipped
mandoc|check torture|optional|tool|mandoc|man pages are not checked
abigail-tools|check torture|optional|tool|abidiff|ABI comparison is skipped
python3-django|check torture|optional|python|django|Django is not tried
python3-gunicorn|check torture|optional|python|gunicorn|workers of gunicorn are not tried
python3-django-redis|check torture|optional|python|django_redis|Django is not tried
redis-tools|check bench torture|optional|tool|redis-check-rdb|no comparison with redis; the remote tier is tried on a port alone
prometheus|check|optional|peer|usr/bin/promtool|metrics are not checked by promtool
gawk|check torture|optional|tool|gawk|scripts are not tried with gawk
busybox|check torture|optional|tool|busybox|scripts are not tried with busybox
gcc-aarch64-linux-gnu|check torture|optional|tool|aarch64-linux-gnu-gcc|the aarch64 build is skipped
libc6-dev-arm64-cross|check torture|optional|glob|/usr/aarch64-linux-gnu/include/errno.h|the aarch64 build is skipped
qemu-user|check torture|optional|tool|qemu-aarch64|aarch64 programs are not run
libglib2.0-dev|bench|optional|glob|/usr/include/glib-2.0/glib.h|the adapter for libCacheSim is not built
libtbb-dev|bench|optional|glob|/usr/include/tbb/concurrent_hash_map.h|peer tbb is left out
libcuckoo-dev|bench|optional|glob|/usr/include/libcuckoo/cuckoohash_map.hh|peer cuckoo is left out
liblmdb-dev|bench|optional|link|lmdb.h -llmdb|peer lmdb is left out
librocksdb-dev|bench|optional|link|rocksdb/c.h -lrocksdb|peer rocksdb is left out
libjemalloc-dev|bench|optional|link|jemalloc/jemalloc.h -ljemalloc|no comparison with jemalloc
gnuplot-nox|bench|optional|tool|gnuplot|no plots of cellar replay
openjdk-17-jdk-headless|bench|optional|tool|javac|peer caffeine is left out
libcaffeine-java|bench|optional|glob|/usr/share/java/caffeine*.jar|peer caffeine is left out
golang-go|bench|optional|tool|go|peers in Go are left out
golang-github-dgraph-io-ristretto-dev|bench|optional|glob|/usr/share/gocode/src/github.com/dgraph-io/ristretto|peer ristretto is left out
python3-cachetools|bench|optional|python|cachetools|peer cachetools is left out
python3-redis|check torture|optional|python|redis|redis-py is not tried
openssl|check torture|optional|tool|openssl|TLS is not tried|openssl/ssl.h
libhiredis-dev|check bench torture|optional|link|hiredis/hiredis.h -lhiredis|no tests of the remote tier, hiredis is not tried
libssl-dev|check bench torture|optional|link|openssl/provider.h -lssl|TLS is not built and not tried|openssl/ssl.h
python3-dbg|check torture|optional|tool|python3-dbg|references of the package for Python are not counted
python3-venv|check torture|optional|python|ensurepip|the wheel and the newest redis-py are not tried
nodejs|bench|optional|tool|node|peers in JavaScript are left out
npm|bench|optional|tool|npm|peers in JavaScript are left out
chromium|torture|optional|tool|chromium|the dashboard is not tried in a browser
'

group=${1-build}
case $group in
build | test | check | bench | torture) ;;
*) echo "deps: no group \`$group'; there are build test check bench torture" >&2; exit 2 ;;
esac
deps=${DEPS-}
if [ "$deps" = off ]; then exit 0; fi

CC=${CC-cc}
CPPFLAGS=${CPPFLAGS-}
LDFLAGS=${LDFLAGS-}
sum=$({ echo "$group $CC $CPPFLAGS $LDFLAGS"; cat "$0"; } | cksum | cut -d ' ' -f 1)
stamp=build/.deps-$group-$sum
if [ -z "$deps" ] && [ -f "$stamp" ]; then exit 0; fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/cellar-deps.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM

compile() { # arguments after $CC; source on stdin
    $CC $CPPFLAGS -x c - "$@" >"$tmp/out" 2>"$tmp/why"
}

probe() { # kind argument -> 0 when there; $tmp/why says why not
    : >"$tmp/why"
    case $1 in
    cc) echo '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }' | compile -o "$tmp/a.out" $LDFLAGS ;;
    # gcc-multilib itself cannot stand beside a cross compiler; what it adds is a place of headers.
    m32) echo '#include <errno.h>
int main(void) { return errno; }' |
        compile -m32 -idirafter /usr/include/x86_64-linux-gnu -o "$tmp/a.out" $LDFLAGS ;;
    header) echo "#include <$2>" | compile -E ;;
    link) printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' "${2%% *}" |
        compile -o "$tmp/a.out" $LDFLAGS "${2#* }" ;;
    tool) command -v "$2" >/dev/null 2>&1 ;;
    # A package of Debian belongs to Debian's Python, which need not be the first one.
    python) python3 -c "import $2" >/dev/null 2>"$tmp/why" ||
        /usr/bin/python3 -c "import $2" >/dev/null 2>"$tmp/why" ;;
    peer) [ -e "build/peers/$2" ] || command -v "${2##*/}" >/dev/null 2>&1 ;;
    glob) for f in $2; do [ -e "$f" ] && return 0; done; return 1 ;;
    esac
}

missing() { # fills $tmp/needed and $tmp/optional with table rows
    : >"$tmp/needed"
    : >"$tmp/optional"
    echo "$table" | while IFS='|' read -r package groups need kind argument lost word; do
        case " $groups " in *" $group "*) ;; *) continue ;; esac
        if [ -n "$word" ] && ! cat src/*/*.[ch] src/*/*/*.[ch] 2>/dev/null | grep -qF "$word"; then continue; fi
        probe "$kind" "$argument" && continue
        echo "$package|$kind|$argument|$lost" >>"$tmp/$need"
        [ "$need" = needed ] && cp "$tmp/why" "$tmp/why-$package"
    done
}

packages() { # file of rows -> names for apt-get; peers are unpacked, not installed
    while IFS='|' read -r package kind rest; do
        case $kind in
        peer) ;;
        cc) echo "gcc libc6-dev" ;;
        *) echo "$package" ;;
        esac
    done <"$1" | tr '\n' ' ' | sed 's/ $//'
}

say_missing() {
    while IFS='|' read -r package kind argument lost; do
        case $kind in
        cc) what="\`$CC' does not build a program" ;;
        header) what="header $argument not found by \`$CC -E'" ;;
        *) what=$argument ;;
        esac
        echo "deps: needed and missing: $package ($what)"
    done <"$tmp/needed"
    while IFS='|' read -r package kind argument lost; do
        echo "deps: optional and missing: $package (without it: $lost)"
    done <"$tmp/optional"
}

finish() { # after the last probe: exit status by what is still missing
    if [ -s "$tmp/needed" ]; then
        while IFS='|' read -r package rest; do
            sed 's/^/deps: /' "$tmp/why-$package"
        done <"$tmp/needed"
        exit 2
    fi
    mkdir -p build
    rm -f build/.deps-"$group"-*
    : >"$stamp"
    echo "deps: ok"
    exit 0
}

missing
if [ ! -s "$tmp/needed" ] && [ ! -s "$tmp/optional" ]; then finish; fi
needed=$(packages "$tmp/needed")
optional=$(packages "$tmp/optional")
install="apt-get install -y --no-install-recommends --no-upgrade"

if [ "$deps" = print ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    say_missing
    all=$(echo "$needed $optional" | sed 's/^ *//; s/ *$//')
    if [ -n "$all" ]; then echo "deps: as root I would run: $install $all"; fi
    if [ -s "$tmp/needed" ]; then exit 2; fi
    if [ "$deps" = print ]; then exit 0; fi
    finish
fi

DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
known() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }
for package in $needed $optional; do
    if ! known "$package"; then
        apt-get update -q || echo "deps: the package lists could not be refreshed"
        break
    fi
done
for package in $(sed -n 's/|peer|.*//p' "$tmp/optional"); do
    # Unpacked only: the package would start a daemon.
    known "$package" || continue
    mkdir -p build/peers
    (cd build/peers && apt-get download "$package" && dpkg -x "$package"_*.deb .) || true
done
list=
for package in $needed $optional; do
    if known "$package"; then list="$list $package"
    else echo "deps: $package is not known to apt-get here"; fi
done
if [ -n "$list" ] && ! $install $list; then
    echo "deps: not all at once; one by one"
    [ -z "$needed" ] || $install $needed
    for package in $optional; do
        known "$package" || continue
        $install "$package" || echo "deps: $package could not be installed"
    done
fi
missing
say_missing
finish
