/* SPDX-License-Identifier: MIT
 *
 * trace: what MONITOR and SLOWLOG show of a request.
 *
 * LIMITS     RESP_TEXT_MAX bytes of an argument, RESP_SLOW_ARGS arguments. Commands that may hold a
 *            password are never shown (RESP_NO_MONITOR). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "resp/queue.h"
#include "resp/trace.h"

BASE_SIZE_BEGIN

/* Add an argument in quotes, with escapes as Redis prints them. */
static void resp_quote(base_text *t, const cellar_bytes *arg)
{
    const unsigned char *p = arg->data;
    const size_t shown = BASE_MIN(arg->len, RESP_TEXT_MAX);
    base_text_put(t, "\"", 1);
    for (size_t i = 0; i < shown; i++) {
        static const char from[] = "\\\"\n\r\t\a\b", to[] = "\\\"nrtab";
        const char *at = p[i] != '\0' ? strchr(from, p[i]) : NULL;
        if (at != NULL) {
            base_text_add(t, "\\%c", to[at - from]);
        } else if (p[i] >= ' ' && p[i] <= '~') {
            base_text_add(t, "%c", p[i]);
        } else {
            base_text_add(t, "\\x%02x", p[i]);
        }
    }
    base_text_put(t, "\"", 1);
    if (arg->len > shown) { base_text_add(t, "... (%zu more bytes)", arg->len - shown); }
}

CELLAR_PRIVATE void resp_monitor_show(const resp_client *c, const cellar_bytes *argv,
                                      uint32_t argc)
{
    char line[RESP_SLOW_ARGS * (RESP_TEXT_MAX * 4 + 40) + 256];
    const int64_t wall_ms = base_wall_ms();
    base_text t = { line, sizeof line, 0 };
    base_text_add(&t, "+%" PRId64 ".%03d000 [%u %s]", wall_ms / 1000, (int)(wall_ms % 1000),
                  (unsigned)c->db, c->address);
    for (uint32_t i = 0; i < BASE_MIN(argc, RESP_SLOW_ARGS); i++) {
        base_text_put(&t, " ", 1);
        resp_quote(&t, &argv[i]);
    }
    if (argc > RESP_SLOW_ARGS) {
        base_text_add(&t, " ... (%u more arguments)", (unsigned)(argc - RESP_SLOW_ARGS));
    }
    base_text_put(&t, "\r\n", 2);
    BASE_ASSERT(t.len < sizeof line);
    resp_client *to = resp_chain(c->of, RESP_C_MONITOR);
    for (; to != NULL; to = to->chain_next) {
        resp_put(to, line, t.len);
        resp_wake(to);
    }
}

static void resp_slow_free(cellar_resp *r, resp_slow **place)
{
    if (*place != NULL) { base_free(&r->obj.account, BASE_MOD_STORE, *place, (*place)->bytes); }
    *place = NULL;
}

CELLAR_PRIVATE void resp_slow_note(const resp_client *c, const cellar_bytes *argv, uint32_t argc,
                                   uint64_t took_us)
{
    cellar_resp *r = c->of;
    cellar_bytes shown[RESP_SLOW_ARGS];
    const uint32_t count = BASE_MIN(argc, RESP_SLOW_ARGS);
    char more[RESP_SLOW_ARGS][RESP_TEXT_MAX + 40];
    size_t bytes = sizeof(resp_slow) + count * sizeof *shown;
    for (uint32_t i = 0; i < count; i++) {
        shown[i] = argv[i];
        if (i + 1 == count && argc > count) {
            const int len = snprintf(more[i], sizeof more[i], "... (%u more arguments)",
                                     (unsigned)(argc - count + 1));
            shown[i] = (cellar_bytes){ more[i], (size_t)len };
        } else if (argv[i].len > RESP_TEXT_MAX) {
            memcpy(more[i], argv[i].data, RESP_TEXT_MAX);
            const int len = snprintf(more[i] + RESP_TEXT_MAX, 40, "... (%zu more bytes)",
                                     argv[i].len - RESP_TEXT_MAX);
            shown[i] = (cellar_bytes){ more[i], RESP_TEXT_MAX + (size_t)len };
        }
        bytes += shown[i].len;
    }
    resp_slow *s = base_alloc(&r->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (s == NULL) { return; }
    s->id = r->slow_next++;
    s->wall_ms = base_wall_ms();
    s->took_us = took_us;
    s->bytes = bytes;
    s->argc = count;
    memcpy(s->address, c->address, sizeof s->address);
    memcpy(s->name, c->name, sizeof s->name);
    resp_args_copy(s->argv, shown, count);
    resp_slow **place = &r->slow[s->id % RESP_SLOW_MAX];
    resp_slow_free(r, place);
    *place = s;
}

CELLAR_PRIVATE void resp_slow_drop(cellar_resp *r)
{
    for (uint32_t i = 0; i < RESP_SLOW_MAX; i++) { resp_slow_free(r, &r->slow[i]); }
}

BASE_SIZE_END
