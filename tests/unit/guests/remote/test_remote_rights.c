/* SPDX-License-Identifier: MIT
 *
 * Aim:    the least rights of cellar_remote.h suffice for every call of the remote tier, and no
 *         right is listed that no call uses.
 * Method: two sides with these rights use namespaces of all kinds, limiters and locks. Then the
 *         server tells which commands it refused (ACL LOG) and which ones ran (INFO commandstats).
 *         The right that is missing has its name: least_rights_suffice_and_each_is_needed. */
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/rights.h"
#include "tests/support/two_sides.h"

static rights least;
static bool used[RIGHTS_MAX];

static void use_values(void)
{
    int64_t now = 0;
    T_EQ_I64(side_set(&a, "k", "1"), CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "1"));
    T_EQ_I64(side_set_tagged(&a, "t", "1", "tag"), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(a.users, "tag", 3, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_OK);
    T_EQ_I64(side_load(&b, "l", "v", 0), CELLAR_OK);
    T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
}

static void use_every_kind(void)
{
    side_fence(&a);
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK);
    T_CHECK(side_has(&a, "other", NULL));
    T_EQ_I64(cellar_delete_by_pattern(a.users, "k*", 2, NULL), CELLAR_OK);
    T_EQ_I64(side_load(&a, "l", "v", 0), CELLAR_OK);
}

/* Increments and conditions, which RAW sends by scripts of its own. */
static void use_conditions(void)
{
    int64_t now = 0;
    T_EQ_I64(cellar_increment(a.users, "c", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "c", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 2);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(cellar_set(a.users, "c", 1, "3", 1, &o), CELLAR_OK);
}

static void use_limiters(void)
{
    const cellar_rule rules[] = { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10),
                                  cellar_rule_fixed_window(10, CELLAR_PER_MONTH),
                                  cellar_rule_sliding_log(10, CELLAR_HOUR_NS) };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        cellar_remote_limiter *l;
        cellar_limiter_result x;
        char name[2] = { (char)('a' + i), '\0' };
        cellar_remote_limiter_config lo = { .struct_size = sizeof lo, .name = name,
                                            .hold_ms = 60000, .batch = 6 };
        T_REQUIRE(cellar_remote_limiter_open(a.r, &rules[i], &lo, &l) == CELLAR_OK);
        T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_OK);
        cellar_remote_limiter_close(l); /* gives units back */
    }
}

static void use_locks(void)
{
    cellar_remote_lock lk, other;
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "k", 1, NULL, &lk), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(b.r, "k", 1, NO_WAIT, &other), CELLAR_E_BUSY);
    T_EQ_I64(cellar_remote_lock_extend(a.r, "k", 1, &lk, 1000), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_release(a.r, "k", 1, &lk), CELLAR_OK);
}

static void open_with(side *s, const cellar_remote_namespace_config *o)
{
    cellar_remote_config ro = side_patient();
    ro.user = "u";
    ro.password = "secret";
    if (o != NULL && o->durable != 0) { ro.io_ms = 500; } /* WAIT takes a tenth of it */
    side_open(s, server.socket, &ro, o);
}

/* Forget the probes of the handshake; these commands are no probes, but what it needs. */
static void forget_handshakes(void)
{
    static const char *const needed[] = { "+script|load", "+subscribe", "+client|tracking" };
    for (size_t i = 0; i < least.count; i++) {
        for (size_t k = 0; k < sizeof needed / sizeof needed[0]; k++) {
            if (strcmp(least.word[i], needed[k]) == 0) { used[i] = true; }
        }
    }
    T_CHECK(engine_ask(&server, "CONFIG RESETSTAT") != NULL);
}

/* Note each right with a command that ran since the last call, in scripts too. */
static void note_used(void)
{
    for (size_t i = 0; i < least.count; i++) {
        char row[64];
        snprintf(row, sizeof row, "\ncmdstat_%s:calls=", least.word[i] + 1);
        if (engine_told(&server, "commandstats", row) != 0) { used[i] = true; }
    }
    T_CHECK(engine_ask(&server, "CONFIG RESETSTAT") != NULL);
}

/* Use all that there is. */
static void use_all(void)
{
    cellar_remote_namespace_config kinds[4];
    for (size_t i = 0; i < 4; i++) { kinds[i] = cellar_remote_namespace_config_default(); }
    kinds[0].values = CELLAR_REMOTE_RAW;
    kinds[1].write = CELLAR_REMOTE_BEHIND;
    kinds[2].write = CELLAR_REMOTE_INVALIDATE;
    kinds[3].durable = 1;
    open_with(&a, NULL);
    open_with(&b, NULL);
    forget_handshakes();
    use_values();
    use_limiters();
    use_locks();
    note_used();
    side_close(&a);
    side_close(&b);
    for (size_t i = 0; i < 4; i++) {
        open_with(&a, &kinds[i]);
        forget_handshakes();
        use_every_kind();
        if (kinds[i].values == CELLAR_REMOTE_RAW) { use_conditions(); }
        note_used();
        side_close(&a);
    }
}

T_CASE(least_rights_suffice_for_every_call)
{
    rights_read(&least);
    T_REQUIRE(engine_start(&server, NULL));
    rights_grant(&server, "u", ">secret", &least, least.count);
    use_all();
    const redisReply *log = engine_ask(&server, "ACL LOG 1");
    T_REQUIRE(log != NULL && log->type == REDIS_REPLY_ARRAY);
    T_EQ_U64(log->elements, 0); /* nothing was refused */
    for (size_t i = 0; i < least.count; i++) {
        if (least.word[i][0] == '+' && !used[i]) { T_EQ_STR(least.word[i], "used by a call"); }
    }
}

T_MAIN("remote_rights")
