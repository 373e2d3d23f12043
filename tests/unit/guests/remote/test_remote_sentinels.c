/* SPDX-License-Identifier: MIT
 *
 * Aim:    a planned failover and one by a split network are followed within 3 s of the promotion;
 *         no hit is older than proof_ms; without a majority of the Sentinels nothing is proven.
 *         After each failover the numbers that make values dead are no smaller than before, and
 *         nothing that was cleared comes back.
 * Method: two servers behind proxies and three Sentinels. The test looks for the promotion in INFO,
 *         and for the link by a set that the new primary has. Failovers that bring nothing back: the
 *         primary is killed, frozen, cut off from all but its client, or killed while its replica
 *         has missed the clear; dead values are read all the time, and by a process that starts
 *         afterwards. FAILOVERS=n: how many (default: 2 planned, 1 split network, 8 others). */
#include "cellar_invalidate.h"
#include "tests/support/group_kit.h"

enum { PROOF_MS = 1000, FOLLOWS_MS = 3000, SLACK_MS = 300 };

static side a;
static int64_t worst_ms;

static bool is_proven(void) { return cellar_remote_state_get(a.r) == CELLAR_REMOTE_PROVEN; }

/* Return whether a set of now is in the server of a node. */
static bool reaches(node *n)
{
    static unsigned sets;
    char key[16];
    (void)snprintf(key, sizeof key, "n%u", ++sets);
    return is_proven() && side_set(&a, key, "v") == CELLAR_OK &&
           engine_number(engine_ask(&n->e, "EXISTS app:users:%s", key)) == 1;
}

static bool majority_names(const node *n)
{
    int votes = 0;
    for (int i = 0; i < SENTINELS; i++) { votes += named_by(&sentinels[i]) == n - nodes; }
    return votes > SENTINELS / 2;
}

/* Wait until the next node is promoted and the link has it. Then another client has deleted the
 * key, and memory answers with the old value for proof_ms at most from when a majority of the
 * Sentinels names that node: they tell each other as fast as the machine is. Return whether the link
 * followed in time. */
static bool await_next(node *next)
{
    char got[16];
    int64_t last_ms = 0;
    AWAIT(info_has(next, "replication", "role:master"));
    const int64_t promoted_ms = engine_now_ms();
    T_EQ_I64(engine_number(engine_ask(&next->e, "DEL app:users:k")), 1);
    AWAIT(majority_names(next));
    const int64_t since_ms = engine_now_ms();
    while (!reaches(next) && engine_now_ms() < since_ms + WAIT_MS) {
        const int64_t before_ms = engine_now_ms();
        if (cellar_get_str(a.users, "k", got, sizeof got) == CELLAR_OK) { last_ms = before_ms; }
        engine_pause_ms(2);
    }
    const int64_t late_ms = engine_now_ms() - promoted_ms;
    if (late_ms > worst_ms) { worst_ms = late_ms; }
    T_CHECK(last_ms - since_ms <= PROOF_MS);
    T_CHECK(side_has(&a, "k", NULL));
    return late_ms <= FOLLOWS_MS * (int64_t)t_patience();
}

/* Count a failover that was followed in time. A busy machine delays some; not 10 of them. */
static void count(bool in_time, uint64_t *left)
{
    static int late;
    if (in_time) { --*left; } else { T_CHECK(++late < 10); }
}

static void key_is_in_memory(void)
{
    AWAIT(side_set(&a, "k", "old") == CELLAR_OK);
    AWAIT(both_have("app:users:k"));
    T_CHECK(side_has(&a, "k", "old"));
}

/* Run failovers, planned ones or by a split network: the primary goes on for its clients, and takes
 * their writes; its replica and the Sentinels do not reach it. */
static void failovers_are_followed(bool planned, uint64_t left)
{
    if (!group_open(500)) { return; }
    side_open_group(&a);
    worst_ms = 0;
    while (left > 0 && !t_failed()) {
        const int now = primary_now();
        key_is_in_memory();
        if (planned) {
            AWAIT(promotes(&nodes[1 - now]));
        } else {
            atomic_store(&nodes[now].p->last, inet_addr(OF_CLIENT));
        }
        count(await_next(&nodes[1 - now]), &left);
        atomic_store(&nodes[now].p->last, 0);
        AWAIT(whole());
    }
    printf("# longest ms from the promotion to a set at the new primary: %lld\n",
           (long long)worst_ms);
    side_close(&a);
    group_close();
}

T_CASE(planned_failover_is_followed) { failovers_are_followed(true, t_env_u64("FAILOVERS", 2)); }
T_CASE(isolated_primary_proves_nothing)
{
    failovers_are_followed(false, t_env_u64("FAILOVERS", 1));
}

T_CASE(without_a_majority_nothing_is_proven)
{
    cellar_error_info why = cellar_error_info_default();
    if (!group_open(500)) { return; }
    side_open_group(&a);
    key_is_in_memory();
    engine_signal(&sentinels[0], SIGSTOP);
    engine_pause_ms(PROOF_MS + SLACK_MS);
    T_CHECK(side_has(&a, "k", "old")); /* two of three */
    engine_signal(&sentinels[1], SIGSTOP);
    const int64_t since_ms = engine_now_ms();
    int64_t last_ms = since_ms, before_ms = since_ms;
    while (is_proven() && before_ms < since_ms + WAIT_MS) {
        before_ms = engine_now_ms();
        if (side_has(&a, "k", "old")) { last_ms = before_ms; }
    }
    T_CHECK(last_ms - since_ms <= (PROOF_MS + SLACK_MS) * (int64_t)t_patience());
    T_CHECK(side_has(&a, "k", NULL)); /* the server has it, and the link stands */
    AWAIT(side_set(&a, "other", "v") == CELLAR_OK); /* writes go on */
    T_CHECK(cellar_remote_fence(a.r, 200) < 0);
    (void)cellar_remote_last_error(a.r, &why);
    T_CHECK(strstr(why.text, "no majority of the Sentinels names 127.0.0.1:") != NULL);
    engine_signal(&sentinels[0], SIGCONT);
    AWAIT(is_proven());
    T_CHECK(side_has(&a, "k", "old"));
    engine_signal(&sentinels[1], SIGCONT);
    side_close(&a);
    group_close();
}

/* ---- nothing dead comes back ---- */

enum { NUMBERS = 3 };
enum { KILL, FREEZE, CUT_OFF, OLDER, FAULTS };

static uint64_t with_dead_values; /* failovers to a server that had both of them */

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

T_MAIN("remote_sentinels")
