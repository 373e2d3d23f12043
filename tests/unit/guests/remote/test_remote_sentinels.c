/* SPDX-License-Identifier: MIT
 *
 * Aim:    a planned failover and one by a split network are followed within 3 s of the promotion;
 *         no hit is older than proof_ms; without a majority of the Sentinels nothing is proven.
 * Method: two servers behind proxies and three Sentinels. The test looks for the promotion in INFO,
 *         and for the link by a set that the new primary has. FAILOVERS=n: how many of each kind. */
#include "tests/support/group_kit.h"

enum { PROOF_MS = 1000, FOLLOWS_MS = 3000, SLACK_MS = 300 };

static side a;
static int64_t worst_ms;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

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
    const int64_t promoted_ms = now_ms();
    T_EQ_I64(engine_number(engine_ask(&next->e, "DEL app:users:k")), 1);
    AWAIT(majority_names(next));
    const int64_t since_ms = now_ms();
    while (!reaches(next) && now_ms() < since_ms + WAIT_MS) {
        const int64_t before_ms = now_ms();
        if (cellar_get_str(a.users, "k", got, sizeof got) == CELLAR_OK) { last_ms = before_ms; }
        engine_pause_ms(2);
    }
    const int64_t late_ms = now_ms() - promoted_ms;
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

/* Ask for a failover, again after one that Sentinel gave up. Return whether it has promoted. */
static bool promotes(node *next)
{
    if (info_has(next, "replication", "role:master")) { return true; }
    (void)engine_ask(&sentinels[0], "SENTINEL FAILOVER main");
    return false;
}

T_CASE(planned_failover_is_followed)
{
    if (!group_open(500)) { return; }
    side_open_group(&a);
    for (uint64_t left = t_env_u64("FAILOVERS", 2); left > 0 && !t_failed();) {
        const int now = primary_now();
        key_is_in_memory();
        AWAIT(promotes(&nodes[1 - now]));
        count(await_next(&nodes[1 - now]), &left);
        AWAIT(whole());
    }
    printf("# longest ms from the promotion to a set at the new primary: %lld\n",
           (long long)worst_ms);
    side_close(&a);
    group_close();
}

/* The primary goes on for its clients, and takes their writes; its replica and the Sentinels do not
 * reach it. */
T_CASE(isolated_primary_proves_nothing)
{
    if (!group_open(500)) { return; }
    side_open_group(&a);
    worst_ms = 0;
    for (uint64_t left = t_env_u64("FAILOVERS", 1); left > 0 && !t_failed();) {
        const int now = primary_now();
        key_is_in_memory();
        atomic_store(&nodes[now].p->last, inet_addr(OF_CLIENT));
        count(await_next(&nodes[1 - now]), &left);
        atomic_store(&nodes[now].p->last, 0);
        AWAIT(whole());
    }
    printf("# longest ms from the promotion to a set at the new primary: %lld\n",
           (long long)worst_ms);
    side_close(&a);
    group_close();
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
    const int64_t since_ms = now_ms();
    int64_t last_ms = since_ms, before_ms = since_ms;
    while (is_proven() && before_ms < since_ms + WAIT_MS) {
        before_ms = now_ms();
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

T_MAIN("remote_sentinels")
