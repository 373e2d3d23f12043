/* SPDX-License-Identifier: MIT
 *
 * Aim:    after a failover by Sentinel the link is proven again by itself, the numbers that make
 *         values dead are no smaller than before, and nothing that was cleared comes back.
 * Method: two servers, each behind a proxy, and three sentinels. The primary is killed, frozen, cut
 *         off from all but its client, or killed while its replica has missed the clear. Dead values
 *         are read all the time, and by a process that starts afterwards. FAILOVERS=n: how many
 *         (default 8).
 * TIME    No check depends on a duration: each wait ends with the state that it waits for. */
#include "cellar_invalidate.h"
#include "tests/support/group_kit.h"

enum { NUMBERS = 3 };
enum { KILL, FREEZE, CUT_OFF, OLDER, FAULTS };

static side a;
static uint64_t with_dead_values; /* failovers to a server that had both of them */

/* ---- one failover ---- */

static const char *const names[NUMBERS] = { "app:~e", "app:~g:users", "app:~t:tag" };

/* Read the epoch, the generation and the number of the tag. */
static void numbers_read(node *n, uint64_t *to)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        const redisReply *r = engine_ask(&n->e, "GET %s", names[i]);
        to[i] = r != NULL && r->type == REDIS_REPLY_STRING ? strtoull(r->str, NULL, 10) : 0;
    }
}

/* Set the values that are to die, and let the replica have them. */
static void values_set(void)
{
    AWAIT(side_set(&a, "cleared", "old") == CELLAR_OK);
    AWAIT(side_set_tagged(&a, "tagged", "old", "tag") == CELLAR_OK);
    AWAIT(both_have("app:users:cleared") && both_have("app:users:tagged"));
}

static void values_end(void)
{
    AWAIT(cellar_delete_by_tag(a.users, "tag", 3, CELLAR_TAG_HARD) == CELLAR_OK);
    AWAIT(cellar_clear(a.users) == CELLAR_OK);
}

static bool is_dead(const side *s)
{
    char got[8];
    return cellar_get_str(s->users, "cleared", got, sizeof got) != CELLAR_OK &&
           cellar_get_str(s->users, "tagged", got, sizeof got) != CELLAR_OK;
}

static void harm(int fault, node *primary)
{
    if (fault == FREEZE) {
        engine_signal(&primary->e, SIGSTOP);
    } else if (fault == CUT_OFF) {
        engine_ask(&primary->e, "CONFIG SET min-replicas-to-write 1 min-replicas-max-lag 1");
        atomic_store(&primary->p->last, inet_addr(OF_CLIENT));
    } else {
        engine_kill(&primary->e);
    }
}

static void heal(int fault, node *old)
{
    if (fault == FREEZE) {
        engine_signal(&old->e, SIGCONT);
    } else if (fault == CUT_OFF) {
        engine_ask(&old->e, "CONFIG SET min-replicas-to-write 0");
    } else {
        engine_restart(&old->e);
    }
    atomic_store(&old->p->last, 0);
}

/* Wait until the other node is the primary and the link is proven again, without any help. */
static void await_proof(int next, uint64_t gaps)
{
    unsigned ms = 0;
    for (; ms < WAIT_MS * t_patience(); ms += 5) {
        T_CHECK(is_dead(&a));
        if (side_stats(&a).gaps > gaps && primary_now() == next &&
            cellar_remote_state_get(a.r) == CELLAR_REMOTE_PROVEN) {
            return;
        }
        engine_pause_ms(5);
    }
    T_REQUIRE(ms < WAIT_MS * t_patience());
}

static void fail_over(int fault)
{
    const int now = primary_now();
    node *primary = &nodes[now], *next = &nodes[1 - now];
    uint64_t before[NUMBERS], after[NUMBERS];
    side late;
    values_set();
    if (fault == OLDER) { atomic_store(&primary->p->last, inet_addr(OF_SENTINEL)); }
    values_end();
    if (fault != OLDER) {
        AWAIT(both_have(names[0]) && both_have(names[1]) && both_have(names[2]));
    }
    numbers_read(primary, before);
    const uint64_t gaps = side_stats(&a).gaps;
    harm(fault, primary);
    await_proof(1 - now, gaps);
    engine_hang_up(&next->e); /* a server that becomes a primary closes its connections */
    numbers_read(next, after);
    for (size_t i = 0; i < NUMBERS; i++) { T_CHECK(before[i] != 0 && after[i] >= before[i]); }
    with_dead_values +=
        engine_number(engine_ask(&next->e, "EXISTS app:users:cleared app:users:tagged")) == 2;
    side_open_group(&late);
    T_CHECK(is_dead(&a) && is_dead(&late));
    AWAIT(side_set(&a, "fresh", "new") == CELLAR_OK);
    side_fence(&late);
    T_CHECK(side_has(&late, "fresh", "new"));
    side_close(&late);
    heal(fault, primary);
    AWAIT(whole());
}

T_CASE(failover_brings_nothing_dead_back)
{
    const uint64_t n = t_env_u64("FAILOVERS", 8);
    if (!group_open(50)) { return; }
    side_open_group(&a);
    for (uint64_t i = 0; i < n && !t_failed(); i++) { fail_over((int)(i % FAULTS)); }
    T_CHECK(with_dead_values > 0 || n == 0);
    side_close(&a);
    group_close();
}

T_MAIN("remote_failover")
