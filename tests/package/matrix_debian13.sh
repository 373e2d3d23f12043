#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The compilers of Debian 13, gcc 14 and clang 19, build pairs and headers without a warning.
# Method: debootstrap makes a Debian 13 below build/, once. There the pairs are compiled by both
#         compilers, and slow_packaging_header.sh runs. Needs root, debootstrap and a mirror.
. tests/support/t.sh
system=build/debian13

made() { # the system, unless an earlier run has made it
    [ -f $system/made ] && return
    rm -rf $system
    debootstrap --variant=minbase --include=gcc,g++,clang,libc6-dev,uthash-dev trixie $system &&
        : >$system/made
}
there() { # COMMAND...: in a copy of the tree
    chroot $system env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'cd /tree && "$@"' there "$@"
}
copied() {
    rm -rf $system/tree && mkdir $system/tree && tar -cf - dist include tests | tar -xf - -C $system/tree
}
pair_is_silent() { # COMPILER STANDARD PAIR
    there "$1" -std="$2" -O2 $t_warn -Idist -c "dist/$3.c" -o /tmp/o.o
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
    t_case headers_of_the_pairs_and_the_library there sh tests/package/slow_packaging_header.sh
fi
t_end matrix_debian13
