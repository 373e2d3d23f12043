/* SPDX-License-Identifier: MIT
 *
 * link_kit: a link of the remote tier with the layer above it made of counters.
 *
 * PICTURE    engine_kit -> redis-server <- link -> link_kit: keys heard, gaps, proofs
 * USE        link_kit k;  link_kit_init(&k, e.socket);  k.c.proof_ms = 400;
 *            link_kit_open(&k);  ...  link_kit_close(&k);
 * TIME       k.clock_ms is the clock of the store when k.virtual_clock is set. */
#ifndef CELLAR_TESTS_LINK_KIT_H
#define CELLAR_TESTS_LINK_KIT_H

#include "remote/link.h"
#include "remote/share.h"
#include "remote/wire.h"
#include "tests/support/left.h"
#include "tests/support/t.h"

enum { LINK_KIT_KEYS = 4096 };

typedef struct link_kit {
    remote_config c;
    remote_link *link;
    remote_memory memory;
    bool virtual_clock, hold; /* hold: `linked` does not call remote_synced */
    _Atomic int64_t clock_ms;
    _Atomic int64_t blocks;   /* live blocks of `memory` */
    _Atomic int fail_in;      /* the n-th allocation from now fails; 0: none */
    _Atomic int gaps, linked, flushes, proofs, logs;
    _Atomic int64_t until_ms;
    _Atomic uint32_t heard;
    char key[64], digest[2][41]; /* the newest key heard; digests of script 0 and 1 */
    char log[200];
    char order[64];           /* letters of events: t linked, g gap, p proven */
    size_t order_len;
    const char *prefix[4];
} link_kit;

T_INLINE void *link_kit_alloc(void *ctx, size_t bytes)
{
    link_kit *k = ctx;
    if (atomic_load(&k->fail_in) > 0 && atomic_fetch_sub(&k->fail_in, 1) == 1) { return NULL; }
    void *p = malloc(bytes);
    if (p != NULL) { atomic_fetch_add(&k->blocks, 1); }
    return p;
}

T_INLINE void link_kit_free(void *ctx, void *p, size_t bytes)
{
    (void)bytes;
    if (p != NULL) { atomic_fetch_sub(&((link_kit *)ctx)->blocks, 1); }
    free(p);
}

T_INLINE int64_t link_kit_real_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

T_INLINE int64_t link_kit_now(void *ctx)
{
    link_kit *k = ctx;
    return k->virtual_clock ? atomic_load(&k->clock_ms) : link_kit_real_ms();
}

T_INLINE void link_kit_event(link_kit *k, char letter)
{
    if (k->order_len + 1 < sizeof k->order) { k->order[k->order_len++] = letter; }
}

T_INLINE size_t link_kit_prefix(void *ctx, size_t i, char *to, size_t cap)
{
    const char *text = i < 4 ? ((link_kit *)ctx)->prefix[i] : NULL;
    if (text == NULL || strlen(text) > cap) { return 0; }
    memcpy(to, text, strlen(text));
    return strlen(text);
}

T_INLINE const char *link_kit_script(void *ctx, size_t i)
{
    (void)ctx;
    return i < 2 ? remote_script_text(NULL, i == 0 ? REMOTE_SCRIPT_DROP : REMOTE_SCRIPT_KEEP) : NULL;
}

T_INLINE void link_kit_script_loaded(void *ctx, size_t i, const char *digest)
{
    link_kit *k = ctx;
    snprintf(k->digest[i & 1], sizeof k->digest[0], "%s", digest);
}

T_INLINE void link_kit_heard(void *ctx, const char *key, size_t len)
{
    link_kit *k = ctx;
    snprintf(k->key, sizeof k->key, "%.*s", (int)len, key);
    atomic_fetch_add(&k->heard, 1);
}

T_INLINE void link_kit_flush(void *ctx) { atomic_fetch_add(&((link_kit *)ctx)->flushes, 1); }

T_INLINE void link_kit_gap(void *ctx)
{
    link_kit_event(ctx, 'g');
    atomic_fetch_add(&((link_kit *)ctx)->gaps, 1);
}

T_INLINE void link_kit_linked(void *ctx)
{
    link_kit *k = ctx;
    link_kit_event(k, 't');
    atomic_fetch_add(&k->linked, 1);
    if (!k->hold) { remote_synced(k->link); }
}

T_INLINE void link_kit_proven(void *ctx, int64_t until_ms)
{
    link_kit *k = ctx;
    if (atomic_load(&k->until_ms) == 0 || k->order[k->order_len - 1] != 'p') {
        link_kit_event(k, 'p');
    }
    atomic_store(&k->until_ms, until_ms);
    atomic_fetch_add(&k->proofs, 1);
}

T_INLINE void link_kit_log(void *ctx, cellar_err code, const char *text)
{
    link_kit *k = ctx;
    (void)code;
    snprintf(k->log, sizeof k->log, "%s", text);
    atomic_fetch_add(&k->logs, 1);
}

/* Prepare the options of a link to a unix socket, without a thread. */
T_INLINE void link_kit_init(link_kit *k, const char *socket)
{
    memset(k, 0, sizeof *k);
    k->c = (remote_config){ .prefix = "app", .uuid = "0123456789abcdef0123456789abcdef",
                            .io_ms = 10000, .proof_ms = 60000, .close_ms = 2000,
                            .no_thread = true };
    const int n = snprintf(k->c.server.host, sizeof k->c.server.host, "%s", socket);
    T_REQUIRE(n < (int)sizeof k->c.server.host);
    k->memory = (remote_memory){ k, link_kit_alloc, link_kit_free, NULL };
    k->prefix[0] = "app:~";
    k->prefix[1] = "app:users:";
}

T_INLINE void link_kit_close(link_kit *k)
{
    left_drop(k);
    remote_link_close(k->link);
    k->link = NULL;
    T_EQ_I64(atomic_load(&k->blocks), 0);
}

static void link_kit_left(void *k) { link_kit_close(k); }

T_INLINE cellar_err link_kit_open(link_kit *k)
{
    const remote_events e = { .ctx = k, .memory = &k->memory, .now_ms = link_kit_now,
        .prefix = link_kit_prefix, .script = link_kit_script,
        .script_loaded = link_kit_script_loaded, .heard = link_kit_heard,
        .heard_flush = link_kit_flush, .gap = link_kit_gap, .linked = link_kit_linked,
        .proven = link_kit_proven, .log = link_kit_log };
    const cellar_err err = remote_link_open(&k->c, &e, &k->link);
    if (err == CELLAR_OK) { left_add(k, link_kit_left); }
    return err;
}

/* Run the link until it is in a state. Return false after 20 s. */
T_INLINE bool link_kit_until(link_kit *k, remote_state wanted)
{
    const int64_t end_ms = link_kit_real_ms() + 20000;
    while (remote_link_state(k->link) != wanted && link_kit_real_ms() < end_ms) {
        if (k->c.no_thread) { T_EQ_I64(remote_link_step(k->link, 1), CELLAR_OK); }
        else { sched_yield(); }
    }
    return remote_link_state(k->link) == wanted;
}

/* Run the link until it has a reason. Return the reason; NONE after 20 s. */
T_INLINE remote_why link_kit_reason(link_kit *k, remote_refusal *why)
{
    const int64_t end_ms = link_kit_real_ms() + 20000;
    do {
        T_EQ_I64(remote_link_step(k->link, 1), CELLAR_OK);
        remote_link_refusal(k->link, why);
    } while (why->why == REMOTE_WHY_NONE && link_kit_real_ms() < end_ms);
    return why->why;
}

/* Skip attempts that time out: this thread may have stood still, and a handshake has 1 s. */
T_INLINE remote_why link_kit_refused(link_kit *k, remote_refusal *why)
{
    const int64_t end_ms = link_kit_real_ms() + 20000;
    while (link_kit_reason(k, why) == REMOTE_WHY_TIMEOUT && link_kit_real_ms() < end_ms) { }
    return why->why;
}

/* A text reply, or the number of an integer, of one command. */
typedef struct link_kit_answer {
    remote_type type;
    int64_t number;
    char text[256];
    uint32_t replies;
    bool ended;
    cellar_err err;
    remote_fate fate;
} link_kit_answer;

T_INLINE void link_kit_take(void *ctx, uint32_t index, const remote_reply *r)
{
    link_kit_answer *a = ctx;
    T_EQ_U64(index, a->replies);
    a->replies++;
    a->type = r->type;
    a->number = r->type == REMOTE_ARRAY ? (int64_t)r->count : r->number;
    snprintf(a->text, sizeof a->text, "%.*s", (int)r->len, r->text != NULL ? r->text : "");
}

T_INLINE void link_kit_done(void *ctx, cellar_err err, remote_fate fate)
{
    link_kit_answer *a = ctx;
    T_CHECK(!a->ended);
    a->ended = true;
    a->err = err;
    a->fate = fate;
}

/* Append one command. The words end with NULL. */
T_INLINE void link_kit_command(remote_bytes *b, const char *const *words)
{
    cellar_bytes all[8];
    size_t n = 0;
    for (; words[n] != NULL; n++) { all[n] = (cellar_bytes)REMOTE_WORD(words[n]); }
    remote_command(b, all, n);
}

/* Ask with the words of one command, which end with NULL. */
T_INLINE cellar_err link_kit_ask(link_kit *k, link_kit_answer *a, const char *const *words)
{
    remote_bytes b = { .memory = &k->memory };
    memset(a, 0, sizeof *a);
    const int armed = atomic_exchange(&k->fail_in, 0); /* for the link alone */
    do { /* malloc may fail once */
        remote_bytes_free(&b);
        link_kit_command(&b, words);
    } while (b.err != CELLAR_OK);
    atomic_store(&k->fail_in, armed);
    const remote_request q = { .bytes = b.data, .bytes_len = b.len, .replies = 1, .ctx = a,
                               .fn = link_kit_take,
                               .flags = strcmp(words[0], "EVALSHA") == 0 ? REMOTE_SCRIPTED : 0 };
    a->err = remote_ask(k->link, &q, &a->fate);
    remote_bytes_free(&b);
    return a->err;
}
#define LINK_KIT_WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

#endif
