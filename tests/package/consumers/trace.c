/* SPDX-License-Identifier: MIT
 *
 * trace: a million operations from a fixed seed, clock and secret; prints a digest of every
 * outcome. Two builds of the same source must print the same. */
#include "cellar.h"

#include <stdio.h>
#include <string.h>

static int64_t trace_now_ms = 1000000;
static uint64_t trace_state = 88172645463325252u;
static uint64_t trace_digest = 14695981039346656037u;

static int64_t trace_clock(void *ctx)
{
    (void)ctx;
    return trace_now_ms;
}

static uint64_t trace_random(void)
{
    trace_state ^= trace_state << 13;
    trace_state ^= trace_state >> 7;
    trace_state ^= trace_state << 17;
    return trace_state;
}

static void trace_note(const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) trace_digest = (trace_digest ^ p[i]) * 1099511628211u;
}

static void trace_step(cellar *c)
{
    static unsigned char value[700];
    static unsigned char buf[700];
    uint64_t r = trace_random();
    uint64_t key = (r >> 20) % ((r & 3) == 0 ? 20000u : 500u);
    size_t len = (size_t)((r >> 40) % sizeof value);
    cellar_set_opts o = cellar_set_opts_default();
    cellar_err err = CELLAR_OK;
    int64_t sum = 0;

    memset(value, (int)(r & 0xFF), len);
    switch ((r >> 4) % 16) {
    case 0: case 1: case 2: case 3: case 4:
        o.ttl_ms = (int64_t)((r >> 8) % 2000 + 1);
        err = cellar_set(c, &key, sizeof key, value, len, &o);
        len = 0;
        break;
    case 5:
        err = cellar_delete(c, &key, sizeof key);
        len = 0;
        break;
    case 6:
        key |= (uint64_t)1 << 63;
        o.ttl_ms = 500;
        err = cellar_increment(c, &key, sizeof key, 3, 10, &o, &sum);
        trace_note(&sum, sizeof sum);
        len = 0;
        break;
    case 7:
        trace_now_ms += (int64_t)((r >> 12) % 7);
        len = 0;
        break;
    default:
        len = 0;
        err = cellar_get(c, &key, sizeof key, buf, sizeof buf, &len);
        if (err != CELLAR_OK) len = 0;
        break;
    }
    trace_note(&err, sizeof err);
    trace_note(&len, sizeof len);
    trace_note(buf, len);
}

int main(void)
{
    static const uint8_t secret[32] = "the same secret in both builds.";
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;

    cfg.memory_bytes = 4u << 20;
    cellar_host_config host = cellar_host_config_default();
    cellar_tuning_config tuning = cellar_tuning_config_default();
    host.no_threads = 1;
    host.clock = trace_clock;
    tuning.hash_key = secret;
    cfg.host = &host;
    cfg.tuning = &tuning;
    if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;
    for (int i = 0; i < 1000000; i++) trace_step(c);
    cellar_close(c);
    printf("%016llx\n", (unsigned long long)trace_digest);
    return 0;
}
