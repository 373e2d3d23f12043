# SPDX-License-Identifier: MIT
#
# serve.sh: start and stop `cellar serve` in shell tests; read after t.sh.
#
#   serve OPTION...   start it on the socket $t_tmp/s and wait for its line; its number is $serve_pid
#   stop              SIGTERM, then wait; returns the exit code
#   rc WORD...        redis-cli on that socket
bin=${CELLAR_BIN:-build/cellar}
serve() {
    rm -f "$t_tmp/s"
    : >"$t_tmp/ready"
    "$bin" serve --port=0 --unix="$t_tmp/s" "$@" >"$t_tmp/ready" 2>"$t_tmp/serve_err" &
    serve_pid=$!
    trap 'kill -KILL $serve_pid 2>/dev/null' EXIT # of the subshell of a case
    n=0
    until grep -q '^ready:' "$t_tmp/ready"; do
        n=$((n + 1))
        if [ $n -gt 1000 ] || ! kill -0 $serve_pid 2>/dev/null; then
            cat "$t_tmp/serve_err"
            return 1
        fi
        sleep 0.02
    done
}
stop() {
    kill -TERM $serve_pid
    wait $serve_pid
}
rc() { redis-cli -s "$t_tmp/s" "$@"; }
