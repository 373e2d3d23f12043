/* SPDX-License-Identifier: MIT
 *
 * shared_side: a store with one shared namespace "users", prefix "app", on the server of a test. Two
 * sides in one process stand for two processes. */
#ifndef CELLAR_TESTS_SHARED_SIDE_H
#define CELLAR_TESTS_SHARED_SIDE_H

#include "cellar_admin.h"
#include "cellar_remote.h"
#include "tests/support/engine_kit.h"
#include "tests/support/no_wait.h"
#include "tests/support/t.h"

typedef struct side {
    cellar *store, *users;
    cellar_remote *r;
} side;

/* Wait for the proof; 10 s at most. */
T_INLINE bool side_proven(const side *s)
{
    for (int i = 0; i < 5000; i++) {
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

T_INLINE void side_fence(const side *s)
{
    T_REQUIRE(cellar_remote_fence(s->r, 10000) == CELLAR_OK);
}

T_INLINE void side_close(side *s)
{
    left_drop(s);
    cellar_remote_close(s->r);
    T_CHECK(cellar_namespace_close(s->users) == CELLAR_OK);
    T_CHECK(cellar_close(s->store) == CELLAR_OK);
}

static void side_left(void *s) { side_close(s); }

/* ro NULL: patient options. With ro->sentinels no socket is used. max_value 0: the default. */
T_INLINE void side_open_limited(side *s, const char *socket, const cellar_remote_config *ro,
                                const cellar_remote_namespace_config *o, uint64_t max_value)
{
    const cellar_remote_config patient = side_patient();
    char url[512];
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar_tuning_config tuning = { .struct_size = sizeof tuning, .max_value_bytes = max_value };
    cfg.tuning = &tuning;
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", socket);
    T_REQUIRE(cellar_open(&cfg, &s->store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(s->store, "users", NULL, &s->users) == CELLAR_OK);
    const bool named = ro != NULL && ro->sentinels != NULL;
    T_REQUIRE(cellar_remote_open(s->store, named ? NULL : url, ro != NULL ? ro : &patient, &s->r) ==
              CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(s->r, s->users, o) == CELLAR_OK);
    T_REQUIRE(side_proven(s));
    left_add(s, side_left);
}

T_INLINE void side_open(side *s, const char *socket, const cellar_remote_config *ro,
                        const cellar_remote_namespace_config *o)
{
    side_open_limited(s, socket, ro, o, 0);
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

#endif
