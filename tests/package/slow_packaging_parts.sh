#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    A new part of the write path is one row of CACHE_PARTS: it then hears of every kind of
#         change, once each.
# Method: A copy of dist/cellar.c gets one row with a counting function. A program makes one change of
#         each kind in an observed store and reads the counts after each.
. tests/support/t.sh

cat >"$t_tmp/count.h" <<'END'
unsigned changes_counted[5];
static void count_change(const cache_change *ch, cache_change_kind kind)
{
    if (ch->err == CELLAR_OK) { changes_counted[kind]++; }
}
END
cat >"$t_tmp/main.c" <<'END'
#include <stdio.h>
#include <string.h>
#include "cellar.h"

extern unsigned changes_counted[5];
enum { PUT, DELETE, INCREMENT, TOUCH, RENEW };
static unsigned seen[5], wrong;

static void expect(const char *what, int kind, unsigned times)
{
    for (int i = 0; i < 5; i++) {
        const unsigned more = changes_counted[i] - seen[i], want = i == kind ? times : 0;
        if (more != want) {
            printf("%s: kind %d counted %u times, not %u\n", what, i, more, want);
            wrong++;
        }
        seen[i] = changes_counted[i];
    }
}
static void hear(const cellar_event *e, void *ctx) { (void)e; (void)ctx; }
static cellar_err load(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, len);
}
static cellar_err load_same(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_not_modified(ld);
}
int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    uint64_t id;
    int64_t now;
    if (cellar_open(&cfg, &c) != CELLAR_OK ||
        cellar_listener_add(c, 0, hear, NULL, &id) != CELLAR_OK) {
        return 1;
    }
    cellar_set(c, "a", 1, "1", 1, NULL);
    expect("set of a new key", PUT, 1);
    cellar_set(c, "a", 1, "2", 1, NULL);
    expect("set of a present key", PUT, 1);
    cellar_increment(c, "n", 1, 1, 0, NULL, &now);
    expect("increment of a new counter", INCREMENT, 1);
    cellar_increment(c, "n", 1, 1, 0, NULL, &now);
    expect("increment", INCREMENT, 1);
    cellar_touch(c, "a", 1, 60000);
    expect("touch", TOUCH, 1);
    cellar_delete(c, "a", 1);
    expect("delete", DELETE, 1);
    cellar_result r = cellar_result_default();
    cellar_get_or_load(c, "l", 1, NULL, load, NULL, &r);
    cellar_result_free(&r);
    expect("load", PUT, 1);
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_REFRESH;
    r = cellar_result_default();
    cellar_get_or_load(c, "l", 1, &o, load_same, NULL, &r);
    cellar_result_free(&r);
    expect("load that found the value not modified", RENEW, 1);
    cellar_lease lease;
    r = cellar_result_default();
    cellar_lease_acquire(c, "z", 1, NULL, NULL, &lease, &r);
    cellar_lease_fulfill(c, &lease, "z", 1, NULL);
    cellar_result_free(&r);
    expect("fulfilled lease", PUT, 1);
    return cellar_close(c) != CELLAR_OK || wrong != 0;
}
END
each_change_once() {
    awk -v header="$t_tmp/count.h" '
        /^#define CACHE_PARTS\(X\)/ { print "#include \"" header "\"" }
        /^    X\(.*cache_durability_end\)$/ {
            print "    X(CACHE_NEVER, CACHE_SKIP, CACHE_SKIP, CACHE_SKIP, count_change) \\"
            rows++
        }
        { print }
        END { exit rows != 1 }' dist/cellar.c >"$t_tmp/cellar.c" || return 1
    $CC -std=c11 -Idist -O0 -g0 -pthread "$t_tmp/main.c" "$t_tmp/cellar.c" -lm -o "$t_tmp/parts" &&
        "$t_tmp/parts"
}
t_case new_part_in_one_row_hears_each_change_once each_change_once
t_end packaging_parts
