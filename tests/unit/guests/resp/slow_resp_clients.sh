#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    real clients of Redis work with the port: redis-cli and redis-benchmark, which speak
#         through hiredis, redis-py, Django.
# Method: `cellar serve` on a socket file; each client does what its users do. A client that is not
#         installed is a skip. REDIS_PY=PYTHON: a Python that has redis-py.
. tests/support/t.sh
. tests/support/serve.sh
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
$MAKE --no-print-directory all NOLINK=1 >/dev/null || exit 2
bin=$CELLAR_BUILD/cellar

# ---- redis-cli ----
cli() { # FACT FUNCTION
    if t_have redis-cli; then t_case "$1" "$2"; else t_skip "$1" "no redis-cli (redis-tools)"; fi
}
fill() { awk 'BEGIN { for (i = 0; i < 1000; i++) printf "SET key:%d value-%d\r\n", i, i }'; }
one_shot() {
    serve && [ "$(rc set a 1)" = OK ] && [ "$(rc -3 get a)" = 1 ] &&
        rc -3 hello 3 | grep -q '^server redis$' && [ "$(rc incr a)" = 2 ] &&
        rc nosuch | grep -q "unknown command 'nosuch'" && stop
}
cli one_shot_commands_in_resp2_and_resp3 one_shot
interactive() { serve && printf 'set a 1\nget a\n' | rc --no-raw | grep -q '"1"' && stop; }
cli commands_from_standard_input interactive
pipe() {
    serve && fill | rc --pipe | grep -q 'errors: 0, replies: 1000' && [ "$(rc dbsize)" = 1000 ] &&
        stop
}
cli pipe_loads_1000_keys pipe
scans() {
    serve && fill | rc --pipe >/dev/null && [ "$(rc --scan | sort -u | wc -l)" = 1000 ] &&
        [ "$(rc --scan --pattern 'key:99?' | sort -u | wc -l)" = 10 ] &&
        rc --bigkeys | grep -q 'Sampled 1000 keys' && rc --memkeys | grep -q 'Sampled 1000 keys' &&
        stop
}
cli scan_bigkeys_and_memkeys_see_all_keys scans
stat() {
    serve && fill | rc --pipe >/dev/null || return 1
    timeout 60 stdbuf -oL redis-cli -s "$t_tmp/s" --stat -i 0.2 | head -n 3 >"$t_tmp/stat"
    cat "$t_tmp/stat"
    tail -n 1 "$t_tmp/stat" | grep -q '^1000 ' && stop
}
cli stat_shows_keys_and_requests stat
monitored() {
    serve || return 1
    timeout 60 stdbuf -oL redis-cli -s "$t_tmp/s" monitor >"$t_tmp/monitor" &
    watcher=$!
    n=0
    until grep -q '"get" "a"' "$t_tmp/monitor"; do
        n=$((n + 1))
        [ $n -lt 1000 ] || return 1
        rc get a >/dev/null
        sleep 0.02
    done
    kill $watcher
    stop
}
cli monitor_shows_commands monitored
wrong_password() {
    printf '%s\n' "a password of some length" >"$t_tmp/password"
    serve --password-file="$t_tmp/password" &&
        rc --no-auth-warning -a wrong ping 2>&1 | tee "$t_tmp/wrong" | grep -q NOAUTH &&
        grep -q WRONGPASS "$t_tmp/wrong" &&
        [ "$(rc --no-auth-warning -a "a password of some length" ping)" = PONG ] && stop
}
cli wrong_password_is_refused wrong_password
over_tcp() {
    port=$((20000 + $$ % 20000))
    : >"$t_tmp/ready" # now, not when the program begins
    "$bin" serve --port=$port >"$t_tmp/ready" 2>&1 &
    serve_pid=$!
    trap 'kill -KILL $serve_pid 2>/dev/null' EXIT
    n=0
    until grep -q '^ready:' "$t_tmp/ready"; do
        n=$((n + 1))
        [ $n -lt 3000 ] && kill -0 $serve_pid || return 1
        sleep 0.02
    done
    [ "$(redis-cli -p $port ping)" = PONG ] && [ "$(redis-cli -h 127.0.0.1 -p $port ping)" = PONG ] &&
        stop
}
cli tcp_on_loopback over_tcp

# ---- redis-benchmark ----
bench() {
    serve && redis-benchmark -s "$t_tmp/s" -t set,get,incr,mset -n 2000 -P 16 -q >"$t_tmp/bench" &&
        [ "$(tr '\r' '\n' <"$t_tmp/bench" | grep -c 'requests per second, ')" -ge 4 ] && stop
}
if t_have redis-benchmark; then
    t_case redis_benchmark_runs bench
else
    t_skip redis_benchmark_runs "no redis-benchmark (redis-tools)"
fi

# ---- redis-py ----
py=
for p in ${REDIS_PY-/usr/bin/python3 python3}; do
    if [ -z "$py" ] && $p -c 'import redis' 2>/dev/null; then py=$p; fi
done
python() { # FACT: the program comes from standard input
    cat >"$t_tmp/program.py"
    if [ -z "$py" ]; then
        t_skip "$1" "no redis-py (python3-redis)"
    else
        t_case "$1" runs
    fi
}
runs() { serve && "$py" "$t_tmp/program.py" "$t_tmp/s" && stop; }
python redis_py_lock_acquires_extends_and_refuses_others <<'P'
import redis, sys
r = redis.Redis(unix_socket_path=sys.argv[1])
a, b = r.lock("job", timeout=10), r.lock("job", timeout=10)
assert a.acquire(blocking=False) and not b.acquire(blocking=False)
assert a.extend(10) and r.pttl("job") > 15000
assert a.extend(3, replace_ttl=True) and r.pttl("job") <= 3000
assert a.reacquire() and 9000 < r.pttl("job") <= 10000
b.local.token = b"foreign"
try:
    b.release()
    raise SystemExit("foreign release")
except redis.exceptions.LockNotOwnedError:
    pass
assert a.owned()
a.release()
assert b.acquire(blocking=False)
b.release()
assert not r.exists("job")
P
python redis_py_pubsub_hears_channels_and_patterns <<'P'
import redis, sys
r = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True)
for options in {}, {"protocol": 2}, {"protocol": 3}:
    try:
        other = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True, **options)
    except TypeError:
        continue  # redis-py 4 speaks RESP2 only
    p = other.pubsub()
    calls = []
    p.subscribe("news", **{"sport": calls.append})
    p.psubscribe("w*")
    heard = [p.get_message(timeout=10) for _ in range(3)]
    assert [(m["type"], m["channel"], m["data"]) for m in heard] == [
        ("subscribe", "news", 1), ("subscribe", "sport", 2), ("psubscribe", "w*", 3)], heard
    assert r.publish("news", "1") == 1 and r.publish("sport", "2") == 1
    assert r.publish("weather", "3") == 1 and r.publish("none", "4") == 0
    one = p.get_message(timeout=10)
    assert (one["type"], one["channel"], one["data"]) == ("message", "news", "1"), one
    assert p.get_message(timeout=10) is None and calls[0]["data"] == "2"
    one = p.get_message(timeout=10)
    assert (one["pattern"], one["channel"], one["data"]) == ("w*", "weather", "3"), one
    assert sorted(r.pubsub_channels()) == ["news", "sport"] and r.pubsub_numpat() == 1
    p.unsubscribe()
    p.punsubscribe()
    assert [p.get_message(timeout=10)["data"] for _ in range(3)][-1] == 0
    p.close()
assert r.pubsub_numsub("news") == [("news", 0)]
P

# ---- a program as it is: port 6379 of localhost ----
# The program lies beside the repository. A network of its own has the port free.
manager=../shared/seeds/s1_cache_manager.py
cat >"$t_tmp/wanted" <<'W'
=== 测试缓存管理器 ===

第一次调用:
结果: test_data

第二次调用:
结果: test_data

统计: {'hits': 1, 'misses': 1, 'errors': 0, 'total': 2, 'hit_rate': 0.5}

✅ 测试完成
W
cat >"$t_tmp/inside" <<'I'
tmp=$1 bin=$2 py=$3 program=$4
ip link set lo up || exit 1
: >"$tmp/ready" # an earlier server wrote to it
"$bin" serve >"$tmp/ready" 2>"$tmp/serve_err" &
started=$!
trap 'kill -KILL $started 2>/dev/null' EXIT
seen() { # TEXT FILE: wait for it
    n=0
    until grep -q "$1" "$2"; do
        n=$((n + 1))
        [ $n -lt 1000 ] || return 1
        sleep 0.02
    done
}
seen ^ready: "$tmp/ready" || exit 1
stdbuf -oL redis-cli monitor >"$tmp/monitor" &
started="$started $!"
seen OK "$tmp/monitor" && PYTHONIOENCODING=utf-8 "$py" "$program" >"$tmp/printed" || exit 1
[ "$(redis-cli exists test_key)" = 0 ] && [ "$(redis-cli dbsize)" = 0 ] && seen dbsize "$tmp/monitor"
I
unchanged() {
    : >"$t_tmp/monitor"
    unshare -rn sh "$t_tmp/inside" "$t_tmp" "$bin" "$py" "$manager" || return 1
    cat "$t_tmp/printed" "$t_tmp/monitor"
    diff "$t_tmp/wanted" "$t_tmp/printed" || return 1
    # What the program sent, without the set-up of newer clients and the two questions above.
    sed -n 's/^[^"]*"\([a-zA-Z]*\)".*/\1/p' "$t_tmp/monitor" | tr a-z A-Z |
        grep -v -x -e CLIENT -e HELLO -e SELECT -e COMMAND -e EXISTS -e DBSIZE | sort -u |
        tr '\n' ' ' >"$t_tmp/sent"
    [ "$(cat "$t_tmp/sent")" = "DEL GET KEYS SETEX " ]
}
fact=cache_manager_of_the_documents_runs_as_it_is
if [ -z "$py" ] || ! t_have redis-cli; then
    t_skip $fact "no redis-py or no redis-cli (python3-redis, redis-tools)"
elif [ ! -f "$manager" ]; then
    t_skip $fact "no $manager"
elif ! unshare -rn ip link set lo up 2>/dev/null; then
    t_skip $fact "no network of its own may be made (unshare -rn, ip)"
else
    t_case $fact unchanged
fi

# ---- Django ----
tasks=tests/examples/python/django_tasks.py
served() { "$py" $tasks "unix://$t_tmp/s?db=0"; }
django() {
    serve && served >"$t_tmp/ours" && stop && cat "$t_tmp/ours" && grep -q '^clear:' "$t_tmp/ours"
}
same() {
    serve && served >"$t_tmp/ours" && stop || return 1
    ln -s "$(command -v redis-check-rdb)" "$t_tmp/redis-server"
    rm -f "$t_tmp/s"
    "$t_tmp/redis-server" --port 0 --unixsocket "$t_tmp/s" --save '' --dir "$t_tmp" >/dev/null &
    serve_pid=$!
    trap 'kill -KILL $serve_pid 2>/dev/null' EXIT
    n=0
    until [ -S "$t_tmp/s" ]; do
        n=$((n + 1))
        [ $n -lt 3000 ] || return 1
        sleep 0.02
    done
    served >"$t_tmp/theirs" && stop && diff "$t_tmp/theirs" "$t_tmp/ours"
}
fact=django_caches_tasks_and_limits_users
if [ -z "$py" ] || ! "$py" -c 'import django, django_redis' 2>/dev/null; then
    t_skip $fact "no Django with django-redis (python3-django, python3-django-redis)"
    t_skip ${fact}_as_with_redis "no Django with django-redis"
else
    t_case $fact django
    if t_have redis-check-rdb; then
        t_case ${fact}_as_with_redis same
    else
        t_skip ${fact}_as_with_redis "no redis-check-rdb (redis-tools)"
    fi
fi
t_end resp_clients
