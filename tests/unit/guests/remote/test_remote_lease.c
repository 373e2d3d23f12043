/* SPDX-License-Identifier: MIT
 *
 * Aim:    a cold key has one lease; a change by any client ends the lease, and so does the next
 *         request when its owner has no beat. One load over processes: test_remote_shared_load.
 * Method: members in one process and in child processes, on a server of the test. A member waits as
 *         the store does: it notes the invalidations heard before it asks. */
#include "tests/support/share_kit.h"

enum { GENERATION = 7 };

static const remote_names users = { "app", "users" };

/* One request of a member for one key. */
typedef struct member {
    share *s;
    remote_name name;
    remote_lease_ask q;
    remote_lease lease;
    cellar_err there;
    char value[64];
} member;

static cellar_err judge(void *ctx, const char *bytes, size_t len)
{
    member *m = ctx;
    remote_form f;
    const cellar_bytes key = m->q.key;
    if (remote_form_read(bytes, len, m->name.text, m->name.len, key, 4096, &f) !=
            REMOTE_FORM_OK ||
        f.generation != GENERATION) {
        return CELLAR_MISS;
    }
    if (f.kind == REMOTE_FORM_LEASE) { return CELLAR_PENDING; }
    memcpy(m->value, f.value.data, f.value.len);
    m->value[f.value.len] = '\0';
    return CELLAR_OK;
}

static void member_of(member *m, share *s, const char *key, int64_t hold_ms)
{
    memset(m, 0, sizeof *m);
    m->s = s;
    remote_key_name(&users, key, strlen(key), &m->name);
    m->q = (remote_lease_ask){ .name = &m->name, .names = &users, .key = { key, strlen(key) },
                               .generation = GENERATION,
                               .hold_ms = hold_ms, .judge = judge, .ctx = m };
}
static member a, b; /* of both shares, for one key */

static void members_of(const char *key, int64_t hold_ms)
{
    member_of(&a, &one, key, hold_ms);
    member_of(&b, &two, key, hold_ms);
}

static cellar_err take(member *m)
{
    remote_fate fate;
    return remote_lease_take(&m->s->r, &m->q, &m->lease, &fate);
}
static void release(const member *m)
{
    remote_name name;
    char token[REMOTE_LEASE_TOKEN];
    remote_bytes out = { .memory = &m->s->r.memory };
    const size_t len = remote_lease_name(&m->s->r, &users, &m->name, m->q.key, &m->lease, &name,
                                         token);
    remote_lease_release(&m->s->r, (cellar_bytes)REMOTE_NAME(&name), (cellar_bytes){ token, len },
                         NULL, &out);
    T_EQ_I64(out.err, CELLAR_OK);
    const remote_request q = { .bytes = out.data, .bytes_len = out.len, .replies = 1 };
    T_EQ_I64(remote_ask(m->s->r.link, &q, NULL), CELLAR_OK);
    remote_bytes_free(&out);
}
static cellar_err take_beside(member *m)
{
    remote_fate fate;
    return remote_lease_take_beside(&m->s->r, &m->q, &m->lease, &m->there, &fate);
}
static size_t envelope(const member *m, uint64_t generation, const char *value, uint8_t *to)
{
    const remote_form f = { .kind = REMOTE_FORM_VALUE, .generation = generation, .born = 1,
                            .key = { m->q.key.data, m->name.digest ? m->q.key.len : 0 },
                            .value = { value, strlen(value) } };
    (void)remote_form_write(&f, m->name.text, m->name.len, to);
    return remote_form_size(&f);
}
static cellar_err fill_with(member *m, const void *bytes, size_t len)
{
    uint64_t order = 0;
    const cellar_err err = remote_lease_fill(&m->s->r, &m->q, &m->lease,
                                             (cellar_bytes){ bytes, len }, 60000, &order);
    T_CHECK(err != CELLAR_OK || order != 0);
    return err;
}

static cellar_err fill(member *m, const char *value)
{
    uint8_t bytes[2048];
    return fill_with(m, bytes, envelope(m, GENERATION, value, bytes));
}

T_CASE_ON(keys_of_any_length_have_leases, TWO_SHARES)
{
    static char text[1025];
    memset(text, 'x', sizeof text - 1);
    members_of(text, 5000);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    T_EQ_I64(take(&b), CELLAR_PENDING);
    T_EQ_I64(fill(&a, "long"), CELLAR_OK);
    T_EQ_I64(take(&b), CELLAR_OK);
    T_EQ_STR(b.value, "long");
}

/* Prefix, namespace and key have their largest lengths, and the key has no readable byte. */
T_CASE(longest_name_of_a_lease_beside_a_value_has_room)
{
    static cellar_remote r;
    static char prefix[CELLAR_REMOTE_PREFIX_MAX + 1], space[CELLAR_NAME_MAX + 1];
    static uint8_t key[CELLAR_REMOTE_KEY_TEXT_MAX];
    static struct { remote_name name; char behind[64]; } at;
    const remote_names names = { prefix, space };
    const remote_lease l = { .seen = REMOTE_LEASE_ANY };
    remote_name value;
    char token[REMOTE_LEASE_TOKEN];
    memset(prefix, 'p', sizeof prefix - 1);
    memset(space, 's', sizeof space - 1);
    remote_key_name(&names, key, sizeof key, &value);
    T_CHECK(value.len <= sizeof value.text);
    (void)remote_lease_name(&r, &names, &value, (cellar_bytes){ key, sizeof key }, &l, &at.name,
                            token);
    T_CHECK(at.name.len <= sizeof at.name.text);
    T_EQ_U64(at.behind[0], 0);
}

T_CASE_ON(foreign_delete_and_set_end_the_lease, TWO_SHARES)
{
    members_of("k", 5000);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    engine_ask(&server, "DEL app:users:k");
    T_EQ_I64(fill(&a, "old"), CELLAR_INVALIDATED);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    engine_ask(&server, "SET app:users:k foreign");
    T_EQ_I64(fill(&a, "old"), CELLAR_INVALIDATED);
    T_EQ_STR(engine_ask(&server, "GET app:users:k")->str, "foreign");
    engine_ask(&server, "DEL app:users:k");
    T_EQ_I64(take(&a), CELLAR_LEASED); /* deleted, and leased by another process meanwhile */
    engine_ask(&server, "DEL app:users:k");
    T_EQ_I64(take(&b), CELLAR_LEASED);
    T_EQ_I64(fill(&a, "old"), CELLAR_INVALIDATED);
    T_EQ_I64(fill(&b, "new"), CELLAR_OK);
    T_EQ_I64(take(&a), CELLAR_OK);
    T_EQ_STR(a.value, "new");
    T_EQ_U64(atomic_load(&one.r.counts.leases_lost), 3);
}

T_CASE_ON(dead_value_is_replaced_by_a_lease, TWO_SHARES)
{
    uint8_t bytes[256];
    members_of("k", 5000);
    const size_t len = envelope(&a, GENERATION - 1, "older", bytes);
    engine_ask(&server, "SET app:users:k %b", bytes, len);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    T_EQ_I64(take(&b), CELLAR_PENDING);
    T_EQ_I64(fill(&a, "new"), CELLAR_OK);
    a.q.generation = GENERATION - 1;
    engine_ask(&server, "DEL app:users:k");
    T_EQ_I64(take(&a), CELLAR_LEASED); /* a lease of an older generation is dead as well */
    T_EQ_I64(take(&b), CELLAR_LEASED);
    T_EQ_I64(fill(&a, "older"), CELLAR_INVALIDATED);
    engine_ask(&server, "SET app:users:k text");
    T_EQ_I64(take(&a), CELLAR_E_UNSUPPORTED);
    engine_ask(&server, "DEL app:users:k");
    engine_ask(&server, "LPUSH app:users:k 1");
    T_EQ_I64(take(&a), CELLAR_E_IO);
}

T_CASE_ON(released_lease_frees_the_key, TWO_SHARES)
{
    members_of("k", 60000);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    release(&a);
    T_EQ_I64(take(&b), CELLAR_LEASED);
    release(&a); /* not ours any more */
    T_EQ_I64(fill(&b, "kept"), CELLAR_OK);
}

T_CASE_ON(refresh_keeps_the_value_readable, TWO_SHARES)
{
    uint8_t bytes[256];
    members_of("k", 5000);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    T_EQ_I64(fill(&a, "old"), CELLAR_OK);
    T_EQ_I64(take_beside(&a), CELLAR_LEASED);
    T_EQ_I64(take_beside(&b), CELLAR_PENDING);
    T_EQ_I64(take(&b), CELLAR_OK);
    T_EQ_STR(b.value, "old");
    const size_t len = envelope(&a, GENERATION, "new", bytes);
    T_EQ_I64(fill_with(&a, bytes, len), CELLAR_OK);
    T_EQ_I64(take(&b), CELLAR_OK);
    T_EQ_STR(b.value, "new");
    b.value[0] = '\0';
    T_EQ_I64(take_beside(&b), CELLAR_LEASED);
    T_EQ_I64(b.there, CELLAR_OK); /* the call sees that the value was refreshed meanwhile */
    T_EQ_STR(b.value, "new");
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:k")), 1);
    T_EQ_I64(fill_with(&b, bytes, len), CELLAR_INVALIDATED); /* the value was deleted during the refresh */
    T_EQ_I64(take_beside(&b), CELLAR_LEASED);
    engine_ask(&server, "SET app:users:k %b", bytes, len);
    T_EQ_I64(fill_with(&b, bytes, len), CELLAR_INVALIDATED); /* there was none, and another process has set one */
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:k")), 1);
    T_EQ_I64(take_beside(&b), CELLAR_LEASED);
    engine_ask(&server, "SET app:users:k text");
    T_EQ_I64(fill_with(&b, bytes, len), CELLAR_INVALIDATED); /* of another program, and too short for a check */
    T_EQ_I64(take_beside(&b), CELLAR_LEASED);
    release(&b);
    a.q.raw = true;
    T_EQ_I64(take_beside(&a), CELLAR_LEASED);
    engine_ask(&server, "SET app:users:k text");
    T_EQ_I64(fill_with(&a, "raw", 3), CELLAR_OK);
    T_EQ_STR(engine_ask(&server, "GET app:users:k")->str, "raw");
}

/* Take a lease of each kind, then end the beat of its owner. */
T_CASE_ON(only_a_lease_without_a_beat_ends, TWO_SHARES)
{
    for (int beside = 0; beside < 2; beside++) {
        cellar_err (*const ask)(member *) = beside != 0 ? take_beside : take;
        members_of(beside != 0 ? "b" : "a", 60000);
        T_EQ_I64(ask(&a), CELLAR_LEASED);
        T_EQ_I64(ask(&b), CELLAR_PENDING);
        T_EQ_I64(ask(&b), CELLAR_PENDING); /* the beat is there */
        T_EQ_I64(engine_number(engine_ask(&server, "DEL ~app:beat:%s", one.r.cfg.uuid)), 1);
        T_EQ_I64(ask(&b), CELLAR_PENDING); /* this request ends it */
        T_EQ_I64(ask(&b), CELLAR_LEASED);
        T_EQ_I64(ask(&a), CELLAR_PENDING); /* a late end is that of another token */
        T_EQ_I64(ask(&a), CELLAR_PENDING);
        if (beside == 0) { T_EQ_I64(fill(&a, "late"), CELLAR_INVALIDATED); }
        release(&b);
    }
}

T_CASE_ON(beat_is_sent_only_while_a_lease_is_held, TWO_SHARES)
{
    const char *const uuid = one.r.cfg.uuid;
    T_EQ_I64(remote_lease_beat(&one.r), INT64_MAX);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:beat:%s", uuid)), 0);
    remote_lease_held(&one.r, 60000, 0);
    remote_lease_held(&one.r, 1, 0);
    remote_lease_ended(&one.r);
    T_CHECK(remote_lease_beat(&one.r) <= 15000); /* a quarter of its life */
    const long long left_ms = engine_number(engine_ask(&server, "PTTL ~app:beat:%s", uuid));
    T_CHECK(left_ms > 50000 && left_ms <= 60000);
    engine_ask(&server, "DEL ~app:beat:%s", uuid);
    one.r.share->beat_due_ms[0] = 0;
    remote_lease_ended(&one.r);
    T_EQ_I64(remote_lease_beat(&one.r), INT64_MAX);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:beat:%s", uuid)), 0);
}

/* lease_ms is 120 s: the lives are 60 s, 30 s, 15 s, .. */
T_CASE_ON(beat_lives_half_of_the_patience_at_most, TWO_SHARES)
{
    static const struct { int64_t patience_ms; uint32_t beat; } cases[] = {
        { INT64_MAX, 0 }, { 120000, 0 }, { 119999, 1 }, { 60000, 1 }, { 59999, 2 }, { 1000, 7 },
        { 935, 8 }, { 400, 9 }, { 0, 9 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        T_EQ_U64(remote_lease_choose(&one.r, cases[i].patience_ms), cases[i].beat);
    }
    one.r.cfg.lease_ms = 600000;
    T_EQ_U64(remote_lease_choose(&one.r, 0), REMOTE_BEATS - 1);
    one.r.cfg.lease_ms = 1000;
    T_EQ_U64(remote_lease_choose(&one.r, 0), 2);
}

/* Two leases of one owner, of a long and of a short beat: the loss of one beat ends one lease. */
T_CASE_ON(lease_ends_with_its_own_beat_alone, TWO_SHARES)
{
    enum { SHORT = 3 };
    for (int beside = 0; beside < 2; beside++) {
        cellar_err (*const ask)(member *) = beside != 0 ? take_beside : take;
        member mine[2], theirs[2];
        for (uint32_t i = 0; i < 2; i++) {
            const char *const key = &"a\0b\0c\0d"[4 * beside + 2 * (int)i];
            member_of(&mine[i], &one, key, 60000);
            member_of(&theirs[i], &two, key, 60000);
            mine[i].q.beat = i * SHORT;
            T_EQ_I64(ask(&mine[i]), CELLAR_LEASED);
            remote_lease_held(&one.r, 60000, mine[i].q.beat);
            T_EQ_I64(ask(&theirs[i]), CELLAR_PENDING);
            T_EQ_I64(ask(&theirs[i]), CELLAR_PENDING);
        }
        T_CHECK(engine_number(engine_ask(&server, "PTTL ~app:beat:%si", one.r.cfg.uuid)) <= 7500);
        T_EQ_I64(engine_number(engine_ask(&server, "DEL ~app:beat:%si", one.r.cfg.uuid)), 1);
        one.r.share->beat_due_ms[SHORT] = 0;
        T_CHECK(remote_lease_beat(&one.r) <= 1875);
        T_EQ_I64(ask(&theirs[1]), CELLAR_PENDING);
        T_EQ_I64(ask(&theirs[1]), CELLAR_PENDING); /* the beat came in time */
        T_EQ_I64(engine_number(engine_ask(&server, "DEL ~app:beat:%si", one.r.cfg.uuid)), 1);
        for (int i = 0; i < 2; i++) { T_EQ_I64(ask(&theirs[i]), CELLAR_PENDING); }
        T_EQ_I64(ask(&theirs[0]), CELLAR_PENDING);
        T_EQ_I64(ask(&theirs[1]), CELLAR_LEASED);
        T_EQ_I64(fill(&mine[1], "late"), CELLAR_INVALIDATED);
        if (beside == 0) { T_EQ_I64(fill(&mine[0], "in time"), CELLAR_OK); }
        for (int i = 0; i < 2; i++) { remote_lease_ended(&one.r); }
    }
}

T_CASE_ON(full_server_refuses_leases, TWO_SHARES)
{
    member_of(&a, &one, "k", 5000);
    engine_ask(&server, "CONFIG SET maxmemory 1");
    T_EQ_I64(take(&a), CELLAR_E_SPACE);
}

T_CASE_ON(each_failed_allocation_is_a_code, TWO_SHARES)
{
    member_of(&a, &one, "k", 5000);
    for (int i = 1; i <= 2; i++) { /* the placeholder, the commands */
        atomic_store(&share_fail_alloc, i);
        T_EQ_I64(take(&a), CELLAR_E_NOMEM);
    }
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
    atomic_store(&share_fail_alloc, 0);
    T_EQ_I64(take(&a), CELLAR_LEASED);
    atomic_store(&share_fail_alloc, 1);
    T_EQ_I64(fill(&a, "v"), CELLAR_E_NOMEM);
    T_EQ_I64(fill(&a, "v"), CELLAR_OK);
}

T_MAIN("remote_lease")
