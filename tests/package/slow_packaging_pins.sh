#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tools of include/debug.md say nothing of a right program, and find a pin that is read
#         after its end. The commands of that page and of README.md do what they say.
# Method: the commands as they stand in the pages, in a folder with app.c and dist: the drop-in
#         compiled along by AddressSanitizer, which takes the switch of debug pins, and by
#         ThreadSanitizer; the two commands of README.md, and their program under valgrind. One of the
#         three as SEED decides, all with FULL=1.
. tests/support/t.sh

cat >"$t_tmp/app.c" <<'END'
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
static cellar *c;
static cellar_err load(cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(l, key, len);
}
static void *calls(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        char key[16], buf[200];
        size_t n;
        const int len = snprintf(key, sizeof key, "k%d", (i * 7 + *(int *)arg) % 300);
        cellar_result r = cellar_result_default();
        cellar_load_opts pinned = cellar_load_opts_default();
        pinned.flags = CELLAR_LOAD_PIN;
        memset(buf, i, 100);
        switch (i % 4) {
        case 0: (void)cellar_set(c, key, (size_t)len, buf, 100, NULL); break;
        case 1: (void)cellar_get(c, key, (size_t)len, buf, sizeof buf, &n); break;
        case 2: (void)cellar_delete(c, key, (size_t)len); break;
        default:
            (void)cellar_get_or_load(c, key, (size_t)len, &pinned, load, NULL, &r);
            cellar_result_free(&r);
        }
    }
    return NULL;
}
int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    cellar_config cfg = cellar_config_default();
    cellar_pinned pin;
    pthread_t t[2];
    int from[2] = { 0, 40 };
    cfg.memory_bytes = 2 << 20;
    cfg.l2_path = argv[argc - 1];
    cfg.l2_bytes = 64 << 20;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return 2; }
    for (int i = 0; i < 2; i++) { (void)pthread_create(&t[i], NULL, calls, &from[i]); }
    for (int i = 0; i < 2; i++) { (void)pthread_join(t[i], NULL); }
    if (cellar_set(c, "k", 1, "value", 5, NULL) != CELLAR_OK) { return 2; }
    if (cellar_pin(c, "k", 1, &pin) != CELLAR_OK) { return 2; }
    const char *value = pin.value;
    if (*what != 'c') { cellar_unpin(&pin); }
    if (*what == 'u') { putchar(*value); }
    if (cellar_close(c) != CELLAR_OK) { return 2; }
    if (*what == 'c') { putchar(*value); }
    return 0;
}
END

# The commands of compilers in a page, those with WORD; all of one page make one program.
by_page() { # NAME PAGE WORD
    ln -sfn "$t_root/dist" "$t_tmp/dist"
    sed -n '/^```/,/^```/s/ *#.*//; /^cc .*'"$3"'/p' "$t_root/$2" >"$t_tmp/block" && [ -s "$t_tmp/block" ] || return 1
    (cd "$t_tmp" && sed "s|^cc |$CC |" block >run && sh -e ./run && mv a.out "$1")
}
says_nothing() { # PROGRAM...: of a right program
    rm -rf "$t_tmp/l2"
    "$@" "$t_tmp/l2" >"$t_tmp/said" 2>&1 || { cat "$t_tmp/said"; return 1; }
    [ ! -s "$t_tmp/said" ] || { cat "$t_tmp/said"; return 1; }
}
finds() { # WHAT: a read after this end is named
    rm -rf "$t_tmp/l2"
    if "$t_tmp/asan" "$1" "$t_tmp/l2" >"$t_tmp/said" 2>&1; then return 1; fi
    grep -q 'heap-use-after-free' "$t_tmp/said" && grep -q "freed by" "$t_tmp/said" &&
        grep -q "in $2 " "$t_tmp/said" || { cat "$t_tmp/said"; return 1; }
}

fixed=$(setarch -R true 2>/dev/null && echo setarch -R) # some maps of addresses end TSan
has_turn() { [ "${FULL-}" = 1 ] || [ $((${SEED:-0} / 3 % 3)) -eq "$1" ]; }
if has_turn 0; then
    t_case command_of_the_page_for_asan_compiles by_page asan include/debug.md address
    t_case asan_says_nothing_of_a_right_program says_nothing "$t_tmp/asan"
    t_case read_after_unpin_is_found finds u cellar_unpin
    t_case read_after_close_is_found finds c cellar_close
fi
if has_turn 1; then
    t_case command_of_the_page_for_tsan_compiles by_page tsan include/debug.md thread
    t_case tsan_says_nothing_of_a_right_program says_nothing $fixed "$t_tmp/tsan"
fi
has_turn 2 || t_end packaging_pins
t_case commands_of_the_readme_compile by_page plain README.md ''
if t_have valgrind; then
    t_case valgrind_says_nothing_of_a_right_program says_nothing valgrind -q --error-exitcode=9 \
        --leak-check=full "$t_tmp/plain"
else
    t_skip valgrind_says_nothing_of_a_right_program 'valgrind is missing'
fi
t_end packaging_pins
