#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar serve` needs nothing but its static program: no library, no /proc, no /etc, no
#         folder to write to, no privilege.
# Method: the program of `make STATIC=1` alone in a read-only root, run by a user without rights in
#         a network of its own. Where that may not be made, the case is a skip. The script
#         compiles its own objects with CFLAGS=-O0; FULL=1: with the default -O2, hardened.
. tests/support/t.sh
[ "${FULL-}" = 1 ] || export CFLAGS=-O0
unset $(env | sed -n 's/^\(CELLAR_[A-Z_]*\)=.*/\1/p') # those of the runner are no settings
$MAKE --no-print-directory -s STATIC=1 NOLINK=1 all >/dev/null || exit 2
bin=$($MAKE --no-print-directory -s where STATIC=1)/cellar-static
root=$t_tmp/root
mkdir "$root" && strip -o "$root/cellar" "$bin" || exit 2

static() { # no interpreter, no library
    "$root/cellar" --version && ! readelf -lW "$root/cellar" | grep -q -e INTERP -e DYNAMIC
}
if t_have readelf; then
    t_case program_needs_no_library static
else
    t_skip program_needs_no_library "no readelf (binutils)"
fi

cat >"$t_tmp/inside" <<'I'
root=$1 user=$2
ip link set lo up && mount --bind "$root" "$root" && mount -o remount,ro,bind "$root" || exit 1
chroot $user "$root" /cellar serve --memory=16M >"$root.out" 2>"$root.err" &
pid=$!
trap 'kill -KILL $pid 2>/dev/null' EXIT
n=0
until [ "$(redis-cli ping 2>/dev/null)" = PONG ]; do
    n=$((n + 1))
    [ $n -lt 1000 ] || exit 1
    sleep 0.02
done
if touch "$root/file" 2>/dev/null; then exit 1; fi
[ "$(redis-cli set a 1)" = OK ] && [ "$(redis-cli get a)" = 1 ] || exit 1
[ -z "$user" ] || grep -q '^Uid:.65534.65534.65534.65534' /proc/$pid/status || exit 1
grep '^Cap\|^Uid\|^VmRSS' /proc/$pid/status
kill -TERM $pid && wait $pid && grep -q '^ready: port 6379$' "$root.out" && [ ! -s "$root.err" ]
I
# Root gives up its rights; any other user has none outside of its own namespace of users.
if [ "$(id -u)" = 0 ]; then own=-mn user=--userspec=65534:65534; else own=-rmn user=; fi
alone() {
    unshare $own sh "$t_tmp/inside" "$root" $user
    code=$?
    cat "$root.out" "$root.err"
    return $code
}
fact=serves_alone_in_a_read_only_root_without_rights
if ! t_have redis-cli; then
    t_skip $fact "no redis-cli (package redis-tools)"
elif ! unshare $own sh -c "ip link set lo up && mount --bind / / && chroot / true" 2>/dev/null; then
    t_skip $fact "no network, mount and root of its own may be made (unshare $own)"
else
    t_case $fact alone
fi
t_end cli_alone
