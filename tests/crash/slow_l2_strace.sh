#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    P12, P9, without knowledge of the code: the system calls of the library come in the order
#         that the promises of the disk tier need, and any such call may fail or be the last one.
# Method: strace over tests/crash/disk_order.c, linked with the archive as users link it. First
#         its log is read: SUPER of this run was durable before each acknowledgement; SUPER says that
#         the store was closed only after a sync of all that was written; a change that replaces a
#         value was written before it was acknowledged; the rename came after a sync, and the sync of
#         the directory after the rename. Then the n-th pwrite64, fdatasync, pread64 fails with EIO or ENOSPC,
#         does less than it reports (strace replaces the call), or brings SIGKILL; the store is
#         opened again each time.
#         STRACE_EACH=n: every n-th call (default 3).
. tests/support/t.sh
name=slow_l2_strace
each=${STRACE_EACH:-3}
bin=$t_tmp/disk_order
store=$t_tmp/f
: "${CELLAR_A:=build/libcellar.a}"
calls=openat,pwrite64,pread64,fdatasync,fsync,sync_file_range,rename,renameat,renameat2,write
calls=$calls,fallocate,unlink,unlinkat

build() { $CC -std=c11 -D_GNU_SOURCE $t_warn -Iinclude -o "$bin" tests/crash/disk_order.c \
    "$CELLAR_A" ${CELLAR_LIBS-} -pthread -lm; }
fresh() { rm -rf "$store" && mkdir "$store"; }
watch() { strace -f -y -xx -s 256 -o "$t_tmp/log" -e trace="$calls" "$@"; }

# Names in the log are \xNN, too; the last component of each is sufficient.
cat >"$t_tmp/order.awk" <<'END'
function text(hex,   i, s) { # of printable bytes
    s = ""
    for (i = 3; i < length(hex); i += 4) s = s chr[substr(hex, i, 2)]
    return s
}
function bad(why) { print "line " NR ": " why; failed = 1 }
BEGIN { for (i = 32; i < 127; i++) chr[sprintf("%02x", i)] = sprintf("%c", i) }
{
    sub(/^[0-9]+ +/, "")
    call = $0; sub(/\(.*/, "", call)
    file = ""
    if (match($0, /<[^>]*>/)) {
        file = substr($0, RSTART + 1, RLENGTH - 2)
        if (file ~ /^\\x/) file = text(file)
        sub(/.*\//, "", file)
    }
    bytes = ""
    if (match($0, /"[^"]*"/)) bytes = substr($0, RSTART + 1, RLENGTH - 2)
    if ($NF == "-1" || / = -1 / || lost == call " " file) next
}
call == "pwrite64" {
    unsynced[file] = NR
    if (file != "SUPER") next
    supers++
    if (substr(bytes, 208 * 4 + 3, 2) == "01") {
        if (synced["data.seg"] <= asked) bad("closed without a sync")
        if (synced["data.seg"] < unsynced["data.seg"]) bad("closed before data.seg is synced")
        closes++
    }
}
call == "fdatasync" || call == "fsync" {
    synced[file] = NR
    if (file == "SUPER") durable = supers
    if (file == "store") directories++
}
call ~ /^rename/ {
    if (synced["SUPER.new"] <= unsynced["SUPER.new"]) bad("renamed before it was synced")
    renamed = NR
}
call == "write" && file == "said" {
    line = text(bytes)
    split(line, word, " ")
    if (line ~ /^s/) asked = NR
    if (line ~ /^i/) begun = NR
    if (line ~ /^a/) {
        if (durable == 0) bad("acknowledged before SUPER is durable")
        if (synced["store"] < renamed) bad("acknowledged before the directory was synced")
        if (has[word[2]] && unsynced["data.seg"] < begun) bad("acknowledged before it is written")
        has[word[2]] = word[3] != "0"
        acks++
    }
}
END {
    print acks + 0 " acknowledgements, " closes + 0 " closes, " directories + 0 " directories"
    exit failed || acks < 50 || closes < 1 || renamed == 0
}
END
in_order() {
    fresh && watch "$bin" work "$store" && awk -f "$t_tmp/order.awk" "$t_tmp/log" || return 1
    "$bin" verify "$store" >"$t_tmp/said" && cat "$t_tmp/said" && ! grep -q 'hits 0' "$t_tmp/said"
}
# The check itself: a log without the syncs or the writes of one file is refused.
order_notices() {
    for lost in 'fdatasync data.seg' 'pwrite64 data.seg' 'pwrite64 SUPER' 'fdatasync SUPER'; do
        ! awk -v lost="$lost" -f "$t_tmp/order.awk" "$t_tmp/log" || return 1
    done
}

# Every `each`-th call of one kind fails in one way; then the result is opened.
goes_wrong() { # call, what
    fresh && watch "$bin" work "$store" || return 1
    most=$(grep -c "^[0-9 ]*$1(" "$t_tmp/log")
    [ "$most" -gt 2 ] || { echo "only $most calls of $1"; return 1; }
    n=1
    while [ "$n" -le "$most" ]; do
        fresh
        strace -f -o /dev/null -e trace="$1" -e inject="$1:$2:when=$n" "$bin" work "$store" \
            >"$t_tmp/said" 2>&1
        status=$?
        case $2:$status in *SIGKILL:137 | *:0) ;; *)
            echo "$1 number $n, $2: status $status"
            cat "$t_tmp/said"
            return 1
        esac
        "$bin" verify "$store" >"$t_tmp/said" || {
            echo "$1 number $n, $2: opened again"
            cat "$t_tmp/said"
            return 1
        }
        n=$((n + each))
    done
    echo "$most calls of $1"
}

reads_go_wrong() { # what
    fresh && "$bin" work "$store" && watch "$bin" verify "$store" >/dev/null || return 1
    most=$(grep -c "^[0-9 ]*pread64(" "$t_tmp/log")
    [ "$most" -gt 10 ] || { echo "only $most calls of pread64"; return 1; }
    # The first ones belong to the dynamic loader.
    n=$((1 + $(grep "^[0-9 ]*pread64(" "$t_tmp/log" | grep -vc 'store\|\\x73\\x74\\x6f\\x72\\x65')))
    while [ "$n" -le "$most" ]; do
        strace -f -o /dev/null -e trace=pread64 -e inject="pread64:$1:when=$n" "$bin" verify \
            "$store" >"$t_tmp/said" 2>&1 && "$bin" verify "$store" >>"$t_tmp/said" || {
            echo "pread64 number $n, $1"
            cat "$t_tmp/said"
            return 1
        }
        n=$((n + each))
    done
    echo "$most calls of pread64"
}

if ! t_have strace || ! strace -o /dev/null -e trace=write -e inject=write:retval=1:when=99 true \
    2>/dev/null; then
    t_skip system_calls_come_in_order "no strace that may watch and inject"
    t_end $name
fi
t_case wal_program_builds build
t_case system_calls_come_in_order in_order
t_case a_wrong_order_is_noticed order_notices
for c in pwrite64 fdatasync; do
    t_case "any_${c}_may_fail" goes_wrong $c error=EIO
    t_case "any_${c}_may_be_the_last" goes_wrong $c signal=SIGKILL
done
t_case any_pwrite64_may_find_no_room goes_wrong pwrite64 error=ENOSPC
t_case any_pwrite64_may_write_less_than_it_says goes_wrong pwrite64 retval=512
t_case any_pread64_may_fail reads_go_wrong error=EIO
t_case any_pread64_may_read_nothing reads_go_wrong retval=0
t_end $name
