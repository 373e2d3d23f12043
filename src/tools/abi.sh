#!/bin/sh
# SPDX-License-Identifier: MIT
#
# abi: compares the ABI of a shared library with a stored description, or writes the description.
#
# USE        sh src/tools/abi.sh check FILE.abi.xz LIBRARY HEADERS     (`make abi`)
#            sh src/tools/abi.sh write FILE.abi.xz LIBRARY HEADERS     (`make abi-write`)
# NEEDS      abidw and abidiff (abigail-tools), xz, debug information in the library.
# PASSES     a new call, a field behind the last one of a struct, a new value of an enum. The library
#            reads struct_size, so that a shorter struct of an older program stays valid.
# EXCEPTED   cellar_settings: the library accepts the struct of its own header alone.
# METHOD     The report of abidiff, one section for each changed type. The rules list the lines that
#            may stand in it; any other line is a break. A suppression of abidiff 2.2
#            (has_data_member_inserted_at) also hides fields that change places.
# RESULT     0: compatible; 1: a break, with its lines; 2: a tool failed
set -u
file=$2 library=$3 headers=$4
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cellar-abi.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT

case $1 in
write)
    mkdir -p "${file%/*}" &&
        abidw --headers-dir "$headers" --drop-private-types --no-corpus-path --no-comp-dir-path \
            --out-file "$tmp/new" "$library" && xz -9ec "$tmp/new" >"$file" || exit 2 ;;
check)
    xz -dc "$file" >"$tmp/old" || exit 2
    abidiff --leaf-changes-only --no-added-syms --no-show-locs --headers-dir2 "$headers" \
        --drop-private-types "$tmp/old" "$library" >"$tmp/report"
    [ $(($? & 3)) -eq 0 ] || exit 2 # 1: abidiff failed, 2: wrong arguments
    awk '
        / summary: / || /^$/ { next }
        /^.struct [a-z_0-9]*. changed:$/ { type = $2; sub(/.$/, "", type); bits = 0; next }
        type == "cellar_settings" { next }
        /^  type size changed from [0-9]+ to / { bits = $5 + 0; next }
        bits && /^  [0-9]+ data member insertions?:$/ { next }
        bits && match($0, /, at offset [0-9]+ /) && substr($0, RSTART + 12) + 0 >= bits { next }
        { print type ": " $0; broken = 1 }
        END { exit broken }' "$tmp/report" || exit 1 ;;
esac
