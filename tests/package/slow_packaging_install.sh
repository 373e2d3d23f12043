#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    what `make install` leaves can be used in every documented way, and `make uninstall`
#         leaves no file and no empty folder.
# Method: two LIBDIRs below a PREFIX of the test, and a DESTDIR; a consumer by hand, by pkg-config
#         (shared and static), by CMake (shared and static), in C++; then uninstall and count files.
#         The library is that of the lane `build: no libraries`; FULL=1: at the default -O2, hardened.
. tests/support/t.sh
consumers=tests/package/consumers
version=$(sed -n 's/^#define CELLAR_VERSION_M[AI][JN]OR *\([0-9]*\).*/\1/p
    s/^#define CELLAR_VERSION_PATCH *\([0-9]*\).*/\1/p' include/cellar.h | paste -sd. -)
dev=$(sed -n 's/^#define CELLAR_VERSION_DEV *1.*/-dev/p' include/cellar.h)
minor=${version%.*}

# A plain `make` links no library; one case asks for some.
export ALL_LIBS=
[ "${FULL-}" = 1 ] || export CFLAGS=-O0
install_to() { $MAKE -s install PREFIX="$prefix" LIBDIR="$libdir"; }
expected_files() {
    for f in include/cellar.h include/cellar.hpp "$libdir/libcellar.a" "$libdir/libcellar.so" \
        "$libdir/libcellar.so.$version" "$libdir/pkgconfig/cellar.pc" \
        "$libdir/cmake/cellar/cellar-config.cmake" share/man/man3/cellar_get.3 \
        share/man/man7/cellar.7 share/doc/cellar/LICENSE share/doc/cellar/index.html \
        share/doc/cellar/cellar_load.h.html share/doc/cellar/site.css share/doc/cellar/search.js; do
        [ -e "$prefix/$f" ] || { echo "missing: $f"; return 1; }
    done
}
run_it() { # PROGRAM: with the installed library first
    LD_LIBRARY_PATH=$prefix/$libdir "$1"
}
by_hand() {
    $CC -I"$prefix/include" $consumers/consumer.c -L"$prefix/$libdir" -lcellar \
        -o "$t_tmp/hand" && run_it "$t_tmp/hand"
}
by_hand_static() {
    $CC -I"$prefix/include" $consumers/consumer.c "$prefix/$libdir/libcellar.a" -pthread \
        -o "$t_tmp/hand-static" && "$t_tmp/hand-static"
}
by_cxx() {
    $CXX -std=c++11 -I"$prefix/include" $consumers/consumer.cc -L"$prefix/$libdir" -lcellar \
        -o "$t_tmp/cxx" && run_it "$t_tmp/cxx"
}
pc() { PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig pkg-config "$@"; }
by_pkg_config() {
    $CC $consumers/consumer.c $(pc --cflags --libs cellar) -o "$t_tmp/pc" &&
        [ "$(run_it "$t_tmp/pc")" = "cellar $(pc --modversion cellar)" ]
}
by_pkg_config_static() {
    pc --static --libs cellar | grep -q -- -pthread || return 1
    $CC -static $consumers/consumer.c $(pc --static --cflags --libs cellar) \
        -o "$t_tmp/pc-static" && "$t_tmp/pc-static"
}
# A prefix with a blank: pkg-config and the line of the installation quote it for a shell.
by_pkg_config_with_a_blank() {
    prefix=$t_tmp/a\ blank libdir=lib
    install_to >"$t_tmp/said" && eval "$(sed -n 's/^next: //p' "$t_tmp/said")" &&
        [ "$PKG_CONFIG_PATH:$LD_LIBRARY_PATH" = "$prefix/lib/pkgconfig:$prefix/lib" ] || return 1
    eval "$CC $consumers/consumer.c $(pc --cflags --libs cellar)" '-o "$t_tmp/blank"' && run_it "$t_tmp/blank" && uninstall_leaves_nothing
}
pc_names_no_allocator() { ! grep -i mimalloc "$prefix/$libdir/pkgconfig/cellar.pc"; }
by_cmake() {
    cmake -S $consumers/cmake -B "$t_tmp/cmake-$n" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_COMPILER="$CC" -DWANTED_VERSION="$minor" -DNEXT_VERSION="${minor%.*}.$((${minor#*.} + 1))" &&
        cmake --build "$t_tmp/cmake-$n" && "$t_tmp/cmake-$n/consumer-shared" &&
        "$t_tmp/cmake-$n/consumer-static"
}
# The replay of traces is part of the program; cellar-replay is only a build target.
program_replays() {
    [ ! -f "$prefix/bin/cellar" ] && { echo 'no program in this build'; return 0; }
    [ ! -e "$prefix/bin/cellar-replay" ] || return 1
    printf 'a\nb\na\n' >"$t_tmp/trace.txt"
    "$prefix/bin/cellar" replay --policy=lru --capacity=2 "$t_tmp/trace.txt" |
        grep -q '"subject":"cellar-lru",.*"value":0.666667'
}
uninstall_leaves_nothing() {
    $MAKE -s uninstall PREFIX="$prefix" LIBDIR="$libdir" || return 1
    [ ! -e "$prefix" ] || { echo "left: $(find "$prefix")"; return 1; }
}
others_stay() { # a folder with a foreign file, and the folders of the system
    mkdir -p "$prefix/lib/pkgconfig" && : >"$prefix/lib/pkgconfig/other.pc" || return 1
    libdir=lib
    install_to && $MAKE -s uninstall PREFIX="$prefix" LIBDIR=lib || return 1
    [ "$(cd "$prefix" && find . ! -name . | sort | tr '\n' ' ')" = \
        './lib ./lib/pkgconfig ./lib/pkgconfig/other.pc ' ] || { find "$prefix"; return 1; }
    $MAKE -n uninstall PREFIX=/usr/local >"$t_tmp/plan" || return 1
    grep -q "in '/usr/local/lib/cmake/cellar' | '/usr/local/share/doc/cellar')" "$t_tmp/plan" ||
        { grep -A 3 rmdir "$t_tmp/plan"; return 1; }
}
archive_is_named() { # by the version that the library states
    $MAKE -n dist >"$t_tmp/plan" 2>&1 && grep -q "gzip -9n >dist/cellar-$version$dev\.tar\.gz" "$t_tmp/plan"
}
destdir_is_only_a_stage() {
    set -- PREFIX=/usr DESTDIR="$t_tmp/stage" UNITDIR=lib/systemd/system
    $MAKE -s install "$@" || return 1
    [ -f "$t_tmp/stage/usr/lib/libcellar.a" ] && [ -f "$t_tmp/stage/usr/share/doc/cellar/grafana.json" ] &&
        grep -q '^ExecStart=/usr/bin/cellar serve ' "$t_tmp/stage/usr/lib/systemd/system/cellar.service" &&
        [ -f "$t_tmp/stage/usr/lib/systemd/system/cellar.socket" ] || return 1
    ! grep -r "$t_tmp" "$t_tmp/stage/usr/lib/pkgconfig" "$t_tmp/stage/usr/lib/cmake" || return 1
    $MAKE -s uninstall "$@" || return 1
    [ -z "$(find "$t_tmp/stage" ! -path "$t_tmp/stage")" ]
}

n=0
for libdir in lib lib/x86_64-linux-gnu; do
    n=$((n + 1))
    prefix=$t_tmp/prefix$n
    t_case "install_to_$libdir" install_to
    t_case "all_files_are_there_$libdir" expected_files
    t_case "consumer_by_hand_$libdir" by_hand
    t_case "consumer_by_hand_static_$libdir" by_hand_static
    if t_have "${CXX:=g++}"; then t_case "consumer_in_cxx_$libdir" by_cxx
    else t_skip "consumer_in_cxx_$libdir" "no C++ compiler"; fi
    if t_have pkg-config; then
        t_case "consumer_by_pkg_config_$libdir" by_pkg_config
        t_case "consumer_by_pkg_config_static_$libdir" by_pkg_config_static
    else
        t_skip "consumer_by_pkg_config_$libdir" "no pkg-config"
    fi
    t_case "pkg_config_names_no_allocator_$libdir" pc_names_no_allocator
    if t_have cmake; then t_case "consumer_by_cmake_$libdir" by_cmake
    else t_skip "consumer_by_cmake_$libdir" "no cmake"; fi
    t_case "program_replays_$libdir" program_replays
    t_case "uninstall_leaves_nothing_$libdir" uninstall_leaves_nothing
done
if t_have pkg-config; then t_case prefix_with_a_blank_works by_pkg_config_with_a_blank
else t_skip prefix_with_a_blank_works "no pkg-config"; fi
asked_for() { # pkg-config and CMake name what the archive needs; one word asks for one library
    $MAKE -n LZ4=1 all >"$t_tmp/plan" && grep -q 'WITH_LZ4=1' "$t_tmp/plan" &&
        ! grep 'WITH_SQLITE=1\|WITH_TLS=1\|WITH_MIMALLOC=1' "$t_tmp/plan" || return 1
    prefix=$t_tmp/asked libdir=lib
    (unset CFLAGS && $MAKE -s install PREFIX="$prefix" LIBDIR=lib ALL_LIBS=1) && # the objects of `make test`
        pc --static --libs cellar | grep -q -- -llz4 &&
        "$prefix/bin/cellar" version | grep -q '^lz4 *yes$' &&
        $CC $consumers/consumer.c $(pc --cflags cellar) "$prefix/lib/libcellar.a" ${CELLAR_LIBS-} \
            -pthread -o "$t_tmp/asked-by-hand" && "$t_tmp/asked-by-hand" || return 1
    n=asked
    ! t_have cmake || by_cmake
}
if t_have pkg-config && echo '#include <lz4.h>' | $CC -E - >/dev/null 2>&1; then
    t_case library_that_was_asked_for_is_named asked_for
else
    t_skip library_that_was_asked_for_is_named "no pkg-config or no liblz4-dev"
fi
prefix=$t_tmp/shared
t_case uninstall_leaves_files_and_folders_of_others others_stay
t_case archive_has_the_name_of_its_version archive_is_named
t_case destdir_is_only_a_stage destdir_is_only_a_stage
t_end packaging_install
