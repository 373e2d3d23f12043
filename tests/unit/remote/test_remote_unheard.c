/* SPDX-License-Identifier: MIT
 *
 * Aim:    memory keeps no value for which the server reports no change.
 * Method: two stores in this process stand for two processes; redis-server is real; a fence, never
 *         a pause, comes before each look. */
#include "cellar_load.h"
#include "tests/support/shared_side.h"

static engine server;
static side a, b;

static void both_open(const cellar_remote_namespace_opts *o)
{
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, o);
    side_open(&b, server.socket, NULL, o);
    side_fence(&a); /* the generation exists: no end of all entries follows */
    side_fence(&b);
}

static void both_close(void)
{
    side_close(&a);
    side_close(&b);
    engine_stop(&server);
}

static cellar_err load_old(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key;
    (void)key_len;
    (void)ctx;
    return cellar_load_value(load, "old", 3);
}

static void side_load(const side *s, const char *key)
{
    cellar_result out = cellar_result_default();
    T_CHECK(cellar_get_or_load(s->users, key, strlen(key), NULL, load_old, NULL, &out) ==
            CELLAR_OK);
    cellar_result_free(&out);
}

/* The digest names no key, and no process has written one. */
static void long_key_of_a_load_is_heard(void)
{
    char key[601];
    both_open(NULL);
    memset(key, 'x', 600);
    key[600] = '\0';
    side_load(&b, key);
    T_CHECK(side_has(&b, key, "old"));
    T_CHECK(side_set(&a, key, "new") == CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, key, "new"));
    both_close();
}

T_MAIN("cellar_remote_unheard", T_CASE(long_key_of_a_load_is_heard))
