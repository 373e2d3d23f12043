/* SPDX-License-Identifier: MIT
 *
 * shared_side: a store with one shared namespace "users", prefix "app", on the server of a test. Two
 * sides in one process stand for two processes. */
#ifndef CELLAR_TESTS_SHARED_SIDE_H
#define CELLAR_TESTS_SHARED_SIDE_H

#include "cellar_admin.h"
#include "cellar_remote.h"
#include "tests/support/engine_kit.h"
#include "tests/support/loader.h"
#include "tests/support/no_wait.h"
#include "tests/support/t.h"

typedef struct side {
    cellar *store, *users;
    cellar_remote *r;
} side;

/* Wait for the proof; 60 s at most. */
T_INLINE bool side_proven(const side *s)
{
    for (int i = 0; i < 30000; i++) {
        if (cellar_remote_state_get(s->r) == CELLAR_REMOTE_PROVEN) { return true; }
        (void)cellar_remote_step(s->r, 0); /* E_INVAL: it has a thread */
        engine_pause_ms(2);
    }
    return false;
}

/* Return options with which a loaded machine breaks no promise in time. */
T_INLINE cellar_remote_config side_patient(void)
{
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 10000, .proof_ms = 60000 };
    return ro;
}

/* Return options with RAW values, or the defaults. */
T_INLINE cellar_remote_namespace_config side_raw(bool raw)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    if (raw) { o.values = CELLAR_REMOTE_RAW; }
    return o;
}

T_INLINE void side_fence(const side *s)
{
    T_REQUIRE(cellar_remote_fence(s->r, 60000) == CELLAR_OK);
}

T_INLINE void side_close(side *s)
{
    left_drop(s);
    cellar_remote_close(s->r);
    T_CHECK(cellar_namespace_close(s->users) == CELLAR_OK);
    T_CHECK(cellar_close(s->store) == CELLAR_OK);
}

static void side_left(void *s) { side_close(s); }

/* What a side has of its own; NULL: the defaults, for ro patient options. */
typedef struct side_own {
    const cellar_config *store;
    const cellar_namespace_config *users;
    const cellar_remote_config *ro;
    const cellar_remote_namespace_config *o;
} side_own;

/* Open a side without a wait for its proof. url NULL: ro->sentinels. */
T_INLINE void side_open_url(side *s, const char *url, const side_own *own)
{
    const cellar_remote_config patient = side_patient();
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    T_REQUIRE(cellar_open(own->store != NULL ? own->store : &cfg, &s->store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(s->store, "users", own->users, &s->users) == CELLAR_OK);
    T_REQUIRE(cellar_remote_open(s->store, url, own->ro != NULL ? own->ro : &patient, &s->r) ==
              CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(s->r, s->users, own->o) == CELLAR_OK);
    left_add(s, side_left);
}

/* Open a side on a socket, or by the Sentinels of ro, and wait for its proof. */
T_INLINE void side_open_own(side *s, const char *socket, const side_own *own)
{
    char url[512];
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", socket);
    side_open_url(s, own->ro != NULL && own->ro->sentinels != NULL ? NULL : url, own);
    T_REQUIRE(side_proven(s));
}

T_INLINE void side_open(side *s, const char *socket, const cellar_remote_config *ro,
                        const cellar_remote_namespace_config *o)
{
    side_open_own(s, socket, &(side_own){ .ro = ro, .o = o });
}

T_INLINE cellar_err side_set(const side *s, const char *key, const char *value)
{
    return cellar_set(s->users, key, strlen(key), value, strlen(value), NULL);
}

T_INLINE cellar_err side_set_tagged(const side *s, const char *key, const char *value,
                                    const char *tag)
{
    const cellar_bytes t = { tag, strlen(tag) };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &t, .tag_count = 1 };
    return cellar_set(s->users, key, strlen(key), value, strlen(value), &o);
}

/* A loader that brings the text of its context; NULL: it fails. */
T_INLINE cellar_err side_loader(cellar_load *load, const void *key, size_t key_len, void *text)
{
    (void)key, (void)key_len;
    return text == NULL ? CELLAR_E_IO : cellar_load_value(load, text, strlen(text));
}

T_INLINE cellar_err side_loader_many(cellar_load *load, const cellar_bytes *keys, size_t count,
                                     void *text)
{
    (void)keys;
    for (size_t i = 0; i < count; i++) { (void)loader_value(load, i, text, strlen(text)); }
    return CELLAR_OK;
}

/* What the last load of this thread returned: the begin of the value, and flags. */
static _Thread_local struct side_loaded {
    char text[64];
    uint32_t flags;
} side_loaded;

T_INLINE void side_take(cellar_result *r)
{
    side_loaded.flags = r->flags;
    (void)snprintf(side_loaded.text, sizeof side_loaded.text, "%.*s", (int)r->value_len,
                   r->value != NULL ? (const char *)r->value : "");
    cellar_result_free(r);
}

/* Load a key with a loader that brings a text. */
T_INLINE cellar_err side_load(const side *s, const char *key, const char *text, uint32_t flags)
{
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    const cellar_err err = cellar_get_or_load(s->users, key, strlen(key), &o, side_loader,
                                              (void *)(uintptr_t)text, &r);
    side_take(&r);
    return err;
}

/* The same by a bulk load of one key. */
T_INLINE cellar_err side_load_many(const side *s, const char *key, const char *text,
                                   uint32_t flags)
{
    cellar_result r = cellar_result_default();
    cellar_load_item item = { .key = key, .key_len = strlen(key), .result = &r };
    cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    T_EQ_I64(cellar_get_or_load_many(s->users, &item, 1, &o, side_loader_many,
                                     (void *)(uintptr_t)text), CELLAR_OK);
    side_take(&r);
    return item.status;
}

/* Acquire the lease of a key, as an event loop does: again until there is an answer. A value that
 * is found must be `want`. */
T_INLINE cellar_err side_acquire(const side *s, const char *key, const cellar_load_opts *o,
                                 cellar_lease *lease, const char *want)
{
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 10000 && err == CELLAR_PENDING; i++) {
        cellar_result r = cellar_result_default();
        err = cellar_lease_acquire(s->users, key, strlen(key), o, NULL, lease, &r);
        if (err == CELLAR_OK) {
            T_CHECK(want != NULL && r.value_len == strlen(want) &&
                    memcmp(r.value, want, r.value_len) == 0);
        }
        cellar_result_free(&r);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    return err;
}

/* Return whether a get of the key finds `want`; NULL: a miss. */
T_INLINE bool side_has(const side *s, const char *key, const char *want)
{
    char got[64];
    const cellar_err err = cellar_get_str(s->users, key, got, sizeof got);
    return want == NULL ? err == CELLAR_MISS : err == CELLAR_OK && strcmp(got, want) == 0;
}

T_INLINE cellar_remote_stats side_stats(const side *s)
{
    cellar_remote_stats out = cellar_remote_stats_default();
    T_CHECK(cellar_remote_stats_get(s->r, &out) == CELLAR_OK);
    return out;
}

/* Wait until no write of a side waits in its queue or its journal, and its link stands. */
T_INLINE void side_sent(const side *s)
{
    cellar_remote_stats now = side_stats(s);
    for (int i = 0; i < 120000 && now.queue_entries + now.journal_keys != 0; i++) {
        engine_pause_ms(1); /* late answers wait for a proof of 60 s */
        now = side_stats(s);
    }
    T_EQ_U64(now.queue_entries + now.journal_keys, 0);
    T_CHECK(side_proven(s));
}

#endif
