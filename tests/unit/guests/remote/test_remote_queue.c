/* SPDX-License-Identifier: MIT
 *
 * Aim:    writes that wait in a queue or a journal do not outlive what deletes them, and delete no
 *         later write that the server has confirmed. A close sends them, also when the link has to
 *         come back before. What was loaded in a gap is not in memory after it; deletes by pattern
 *         without an answer begin a gap; a set of BEHIND in a gap overwrites no value that another
 *         client set in the gap.
 * Method: the server is frozen or closed while writes wait, a proxy cuts the link, or a thread
 *         stands still before it posts; a second store reads what the server then has. The I/O
 *         thread stops at the begin of a gap, or behind its start of tracking before the marker of
 *         the first proof. */
#include <semaphore.h>
#include <signal.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "remote/control.h"
#include "remote/link.h"
#include "remote/share.h"
#include "tests/support/engine_kit.h"

static _Thread_local bool posts_late;
static _Atomic bool posting, is_set;

/* Post a batch. If the test wants it, let another thread run between its choice and its post. */
static void post_late(cellar_remote *r, remote_bytes *bytes, remote_request q)
{
    if (posts_late) {
        posts_late = false;
        atomic_store(&posting, true);
        for (int i = 0; i < 500 && !atomic_load(&is_set); i++) { engine_pause_ms(1); }
    }
    remote_post_bytes(r, bytes, q);
}

static _Atomic bool keeps_clears;
static _Atomic uint32_t clears; /* that were kept */

/* Post the clear of a namespace, or keep it if the test wants that. */
static void post_clear(remote_space *s, void (*done)(void *ctx, cellar_err err))
{
    if (atomic_load(&keeps_clears)) {
        atomic_fetch_add(&clears, 1);
    } else {
        remote_control_clear_post(s, done);
    }
}

#define remote_control_clear_post post_clear
#define remote_post_bytes post_late
#include "src/guests/remote/pending.c"
#undef remote_post_bytes
#undef remote_control_clear_post

static _Atomic bool stops, stops_at_gap;
static remote_link *stopped_link;
static sem_t stopped, goes;

static void stop_io_thread(void)
{
    (void)sem_post(&stopped);
    while (sem_wait(&goes) != 0) { }
}

/* Stop the I/O thread, if the test wants it, before the link sends the marker. */
static void synced_later(remote_link *l)
{
    if (atomic_exchange(&stops, false)) {
        stopped_link = l;
        stop_io_thread();
    }
    remote_synced(l);
}

/* Stop the I/O thread, if the test wants it, when the gap has begun and no link is left. */
static void share_gap_later(cellar_remote *r)
{
    remote_share_gap(r);
    if (atomic_exchange(&stops_at_gap, false)) { stop_io_thread(); }
}

#define remote_synced synced_later
#define remote_share_gap share_gap_later
#include "src/guests/remote/coherence.c"
#undef remote_share_gap
#undef remote_synced

static bool loses;

/* Ask, and lose the answer to the deletes of a pattern if the test wants it. */
static cellar_err ask_in_vain(cellar_remote *r, remote_bytes *bytes, remote_request q,
                              remote_fate *fate)
{
    const bool lost = loses && bytes->len != 0 &&
                      memmem(bytes->data, bytes->len, "\r\nUNLINK\r\n", 10) != NULL;
    const cellar_err err = remote_ask_bytes(r, bytes, q, fate);
    return lost ? CELLAR_E_TIMEOUT : err;
}

#define remote_ask_bytes ask_in_vain
#include "src/guests/remote/put.c"
#undef remote_ask_bytes

static int hears; /* readings of numbers behind which an end of tag "t" is heard */

static void hear_tag(const cellar_remote *r)
{
    const remote_parts p = remote_name_parts("app", "app:~t:t", 8);
    remote_control_heard(r->data, &p);
}

static cellar_err need_and_hear(remote_space *s, const cellar_bytes *tags, uint32_t tag_count)
{
    const cellar_err err = remote_control_need(s, tags, tag_count);
    if (hears > 0 && hears-- > 0) { hear_tag(s->r); }
    return err;
}

static _Atomic bool forgets; /* the next look knows no generation */

static uint64_t known_generation(remote_space *s)
{
    return atomic_exchange(&forgets, false) ? 0 : remote_control_generation(s);
}

#define remote_control_need need_and_hear
#define remote_control_generation known_generation
#include "src/guests/remote/get.c"
#undef remote_control_generation
#undef remote_control_need

#include "tests/support/counter.h"
#include "tests/support/two_sides.h"

/* Open two processes. Writes of `a` wait in its queue. */
static void queue_open(const cellar_remote_config *ro, cellar_remote_values values)
{
    T_REQUIRE(engine_start(&server, NULL));
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .values = values };
    side_open(&b, server.socket, NULL, &o);
    o.write = CELLAR_REMOTE_BEHIND;
    side_open(&a, server.socket, ro, &o);
    both_fence();
}

/* Wait until no write of `a` waits. */
static void all_sent(void)
{
    side_sent(&a);
    side_fence(&a);
    side_fence(&b);
}

/* Queue many values: a batch is on its way, and more of them wait. */
static void queue_many(void)
{
    for (int i = 0; i < 300; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "u:%d", i);
        T_CHECK(side_set(&a, key, "old") == CELLAR_OK);
    }
}

/* Check that a side has none of them. */
static void none_is_left(const side *s)
{
    for (int i = 0; i < 300; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "u:%d", i);
        T_CHECK(side_has(s, key, NULL));
    }
}

/* Pattern deletes of envelopes, and a clear of RAW values. */
T_CASE(delete_of_many_ends_queued_values)
{
    for (int raw = 0; raw < 2; raw++) {
        queue_open(NULL, raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE);
        queue_many();
        T_EQ_I64(raw ? cellar_clear(a.users) : cellar_delete_by_pattern(a.users, "u:*", 3, NULL),
                 CELLAR_OK);
        none_is_left(&a);
        all_sent();
        none_is_left(&a);
        none_is_left(&b);
        left_close();
    }
}

static cellar_remote_config hasty(void)
{
    cellar_remote_config ro = side_patient();
    ro.io_ms = 50;
    return ro;
}

/* The clear has no answer; until it has one, the value in the queue counts as cleared. */
T_CASE(clear_without_an_answer_ends_queued_values)
{
    const cellar_remote_config ro = hasty();
    queue_open(&ro, CELLAR_REMOTE_ENVELOPE);
    engine_signal(&server, SIGSTOP);
    T_CHECK(side_set(&a, "1", "old") == CELLAR_OK);
    T_CHECK(side_set(&a, "2", "old") == CELLAR_OK);
    T_EQ_I64(cellar_clear(a.users), CELLAR_DEFERRED);
    T_CHECK(side_has(&a, "1", NULL) && side_has(&a, "2", NULL));
    engine_signal(&server, SIGCONT);
}

/* The journal has room for one key. */
T_CASE(delete_takes_the_place_of_a_queued_value)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_remote_config ro = hasty();
        ro.journal_keys = 1;
        queue_open(&ro, raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE);
        engine_signal(&server, SIGSTOP);
        for (char key[2] = "1"; key[0] <= '3'; key[0]++) {
            T_CHECK(side_set(&a, key, "old") == CELLAR_OK);
        }
        for (char key[2] = "1"; key[0] <= '3'; key[0]++) {
            T_EQ_I64(cellar_delete(a.users, key, 1), CELLAR_OK);
            T_CHECK(side_has(&a, key, NULL));
        }
        T_EQ_U64(side_stats(&a).overflows, 0);
        engine_signal(&server, SIGCONT);
        all_sent();
        T_CHECK(side_proven(&a) && side_proven(&b));
        for (char key[2] = "1"; key[0] <= '3'; key[0]++) {
            T_CHECK(side_has(&a, key, NULL) && side_has(&b, key, NULL));
        }
        left_close();
    }
}

T_CASE(strict_calls_of_a_full_journal_time_out)
{
    cellar_remote_config ro = hasty();
    ro.journal_keys = ro.queue_entries = 1;
    T_REQUIRE(engine_start(&server, NULL));
    const cellar_remote_namespace_config o = { .struct_size = sizeof o, .strict = 1,
                                               .write = CELLAR_REMOTE_BEHIND };
    side_open(&a, server.socket, &ro, &o);
    side_fence(&a);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(cellar_delete(a.users, "1", 1), CELLAR_MISS); /* the journal has it */
    T_EQ_I64(cellar_delete(a.users, "2", 1), CELLAR_E_TIMEOUT);
    T_EQ_I64(side_set(&a, "3", "v"), CELLAR_E_TIMEOUT);
    engine_signal(&server, SIGCONT);
}

/* The server does not report own sets to the process: memory would keep the loaded value. */
T_CASE(load_beside_a_queued_value_is_not_kept)
{
    queue_open(NULL, CELLAR_REMOTE_ENVELOPE);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(side_set(&a, "k", "set"), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "set")); /* its writer reads it */
    T_EQ_I64(side_load(&a, "k", "loaded", CELLAR_LOAD_REFRESH), CELLAR_OK);
    T_CHECK((side_loaded.flags & CELLAR_RESULT_NOT_STORED) != 0);
    engine_signal(&server, SIGCONT);
    all_sent();
    T_CHECK(side_has(&a, "k", "set") && side_has(&b, "k", "set"));
}

/* An idle time ends an entry in memory alone. The queue still has the value: the server is not
 * asked. */
T_CASE(lease_beside_a_queued_value_waits_for_no_server)
{
    const cellar_set_opts idle = { .struct_size = sizeof idle, .idle_ms = 1 };
    const cellar_get_opts o = { .struct_size = sizeof o,
                                .flags = CELLAR_GET_PEEK | CELLAR_GET_MEMORY };
    char got[8];
    cellar_lease lease;
    queue_open(NULL, CELLAR_REMOTE_ENVELOPE);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(cellar_set(a.users, "k", 1, "set", 3, &idle), CELLAR_OK);
    while (cellar_get_with(a.users, "k", 1, &o, got, sizeof got, NULL) == CELLAR_OK) {
        engine_pause_ms(1);
    }
    T_EQ_I64(side_acquire(&a, "k", NULL, &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(a.users, &lease, 0), CELLAR_OK);
    engine_signal(&server, SIGCONT);
}

T_CASE(queued_value_ends_with_its_ttl)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1 };
        queue_open(NULL, raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE);
        engine_signal(&server, SIGSTOP);
        do { /* a set that lasts longer than its TTL queues a delete */
            o.ttl_ms *= 2;
            T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
        } while (o.ttl_ms < 10000 && side_stats(&a).queue_entries == 0);
        for (int i = 0; i < 20000 && !side_has(&a, "k", NULL); i++) { engine_pause_ms(1); }
        T_CHECK(side_has(&a, "k", NULL));
        T_EQ_U64(side_stats(&a).queue_entries, 1);
        engine_signal(&server, SIGCONT);
        left_close();
    }
}

/* Return the version of a key, as the tier has it. */
static uint64_t version_of(const side *s, const char *key)
{
    char got[8];
    cellar_entry_info info = cellar_entry_info_default();
    const cellar_get_opts o = { .struct_size = sizeof o, .info = &info,
                                .flags = CELLAR_GET_WANT_VERSION };
    T_EQ_I64(cellar_get_with(s->users, key, strlen(key), &o, got, sizeof got, NULL), CELLAR_OK);
    T_CHECK((info.flags & CELLAR_INFO_VERSION) != 0 && info.version != 0);
    return info.version;
}

T_CASE(queued_value_has_the_version_of_the_sent_one)
{
    for (int raw = 0; raw < 2; raw++) {
        queue_open(NULL, raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE);
        engine_signal(&server, SIGSTOP);
        T_EQ_I64(side_set(&a, "k", "v"), CELLAR_OK);
        const uint64_t queued = version_of(&a, "k");
        engine_signal(&server, SIGCONT);
        all_sent();
        T_EQ_U64(version_of(&a, "k"), queued);
        left_close();
    }
}

/* ---- confirmed writes behind a journal ---- */

/* Open two processes. A write of `a` has no answer in time, nor has its delete of the journal. Then
 * the server goes on. */
static void late_open(cellar_remote_values values, int64_t io_ms)
{
    cellar_remote_config ro = side_patient();
    ro.io_ms = io_ms;
    ro.proof_ms = 8000; /* the journal waits for a proof, 2 s */
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .values = values };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, &o);
    side_open(&b, server.socket, NULL, &o); /* io_ms of `a` is too short for a busy machine */
    both_fence();
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(side_set(&a, "n", "1"), CELLAR_DEFERRED);
    for (int i = 0; i < 20000 && side_stats(&a).timeouts < 2; i++) { engine_pause_ms(1); }
    T_EQ_U64(side_stats(&a).journal_keys, 1);
    engine_signal(&server, SIGCONT);
}

/* Return whether a side has this value and no other. A late answer is a miss: ask again. */
static bool has_still(const side *s, const char *key, const char *want)
{
    char got[64];
    cellar_err err = CELLAR_MISS;
    for (int i = 0; i < 200 && err == CELLAR_MISS; i++) {
        err = cellar_get_str(s->users, key, got, sizeof got);
    }
    return err == CELLAR_OK && strcmp(got, want) == 0;
}

/* A counter counts as deleted: it begins again, and stays. */
T_CASE(write_behind_a_deferred_set_stays)
{
    int64_t io_ms = 50;
    for (int i = 0; i < 4; i++) {
        const bool counts = i >= 2;
        cellar_err err = CELLAR_DEFERRED;
        int64_t now = 0;
        late_open(i % 2 != 0 ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE, io_ms);
        for (int n = 0; n < 200 && err != CELLAR_OK && (!counts || err != CELLAR_E_TIMEOUT); n++) {
            err = counts ? cellar_increment(a.users, "n", 1, 5, 10, COUNTER_OPTS(60000, 0), &now)
                         : side_set(&a, "n", "2");
        }
        if (err == CELLAR_E_TIMEOUT && io_ms < 2000) { /* it may have counted: once more */
            io_ms *= 2;
            i--;
            left_close();
            continue;
        }
        T_EQ_I64(err, CELLAR_OK);
        all_sent();
        if (counts) {
            T_EQ_I64(now, 15);
            T_EQ_I64(cellar_increment(b.users, "n", 1, 5, 10, COUNTER_OPTS(60000, 0), &now),
                     CELLAR_OK);
            T_EQ_I64(now, 20);
        } else {
            T_CHECK(has_still(&a, "n", "2") && side_has(&b, "n", "2"));
        }
        left_close();
    }
}

/* Fail to load a key, until the release of the lease has sent the journal. */
static void *release_leases(void *unused)
{
    posts_late = true;
    for (int i = 0; i < 200 && posts_late; i++) { (void)side_load(&a, "other", NULL, 0); }
    posts_late = false;
    atomic_store(&posting, true);
    return unused;
}

/* The thread that sends the journal stands still while the set is confirmed. */
T_CASE(set_beside_a_post_of_the_journal_stays)
{
    pthread_t t;
    cellar_err err = CELLAR_DEFERRED;
    late_open(CELLAR_REMOTE_ENVELOPE, 50);
    T_REQUIRE(pthread_create(&t, NULL, release_leases, NULL) == 0);
    while (!atomic_load(&posting)) { engine_pause_ms(1); }
    for (int i = 0; i < 200 && err == CELLAR_DEFERRED; i++) { err = side_set(&a, "n", "2"); }
    atomic_store(&is_set, true);
    pthread_join(t, NULL);
    T_EQ_I64(err, CELLAR_OK);
    all_sent();
    T_CHECK(has_still(&a, "n", "2") && side_has(&b, "n", "2"));
}

/* A clear that waits ends the set as well. */
T_CASE(set_behind_a_deferred_clear_is_deferred)
{
    cellar_err err = CELLAR_DEFERRED;
    late_open(CELLAR_REMOTE_ENVELOPE, 50);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(cellar_clear(a.users), CELLAR_DEFERRED);
    for (int i = 0; i < 20000 && side_stats(&a).timeouts < 4; i++) { engine_pause_ms(1); }
    T_CHECK(side_stats(&a).timeouts >= 4);
    engine_signal(&server, SIGCONT);
    for (int i = 0; i < 20000 && err == CELLAR_DEFERRED; i++) {
        err = side_set(&a, "n", "2");
        engine_pause_ms(1);
    }
    T_EQ_I64(err, CELLAR_OK);
    all_sent();
    T_CHECK(has_still(&a, "n", "2") && side_has(&b, "n", "2"));
}

T_CASE_ON(clear_under_way_is_not_posted_again, BOTH_SIDES)
{
    remote_space *s = remote_space_named(a.r->data, "users", 5);
    T_REQUIRE(s != NULL);
    atomic_store(&keeps_clears, true);
    remote_pending_clear(s);
    remote_pending_kick(s);
    T_EQ_U64(atomic_load(&clears), 1);
    atomic_store(&keeps_clears, false);
    remote_control_clear_post(s, remote_clear_done);
    all_sent();
}

/* A value without a known number of its tag is no proof that there is none. */
T_CASE_ON(condition_waits_for_the_numbers_of_a_value, BOTH_SIDES)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(side_set_tagged(&b, "k", "old", "t"), CELLAR_OK);
        side_fence(&a);
        hear_tag(a.r);
        hears = i == 2 ? 100 : i + 1;
        T_EQ_I64(cellar_set(a.users, "k", 1, "new", 3, &o),
                 i == 2 ? CELLAR_E_BUSY : CELLAR_EXISTS);
        hears = 0;
        T_CHECK(side_has(&b, "k", "old"));
    }
}

T_CASE_ON(increment_waits_for_the_numbers_of_a_value, BOTH_SIDES)
{
    int64_t n = 0;
    T_EQ_I64(side_set_tagged(&b, "k", "!!!!!!!!", "t"), CELLAR_OK);
    side_fence(&a);
    hear_tag(a.r);
    hears = 2;
    T_EQ_I64(cellar_increment(a.users, "k", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, INT64_C(0x2121212121212122));
    hears = 0;
}

/* Keys without numbers are asked for one by one, none behind the last. */
T_CASE_ON(leases_of_many_keys_leave_what_is_behind_them, BOTH_SIDES)
{
    remote_space *s = remote_space_named(a.r->data, "users", 5);
    cellar_tier_claim q[2] = { { .key = { .bytes = "k", .len = 1 } },
                               { .key = { .bytes = "n", .len = 1 }, .err = CELLAR_E_BUSY } };
    T_REQUIRE(s != NULL);
    atomic_store(&forgets, true);
    remote_get_leases(s, q, 1, 60000);
    T_EQ_I64(q[0].err, CELLAR_LEASED);
    T_EQ_I64(q[1].err, CELLAR_E_BUSY);
    cellar_tier_claim other = { .key = q[0].key };
    remote_get_leases(remote_space_named(b.r->data, "users", 5), &other, 1, 60000);
    T_EQ_I64(other.err, CELLAR_PENDING); /* the lease is of the generation that was read */
    remote_lease_ended(a.r);
    remote_unlease(s, &q[0].key, &q[0].l);
}

/* ---- gaps ---- */

/* Cut the links. Return when an I/O thread has stopped; `goes` lets it go on. */
static void cut_and_stop(_Atomic bool *where)
{
    T_REQUIRE(sem_init(&stopped, 0, 0) == 0 && sem_init(&goes, 0, 0) == 0);
    atomic_store(where, true);
    T_CHECK(engine_cut(&server, "pubsub") > 0);
    while (sem_wait(&stopped) != 0) { }
}

/* Return what memory of the side has, also as a stale value. */
static cellar_err look(const side *s, char buf[8])
{
    size_t len = 0;
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
    const cellar_err err = cellar_get_with(s->users, "k", 1, &o, buf, 7, &len);
    buf[err == CELLAR_OK ? len : 0] = '\0'; /* behind the value is what a look left */
    return err;
}

T_CASE(load_of_a_gap_is_not_in_memory_after_it)
{
    for (int offline = 0; offline <= CELLAR_REMOTE_SERVE_STALE; offline++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        char got[8];
        o.offline = (cellar_remote_offline)offline;
        both_open(&o);
        T_EQ_I64(side_set(&a, "k", "set"), CELLAR_OK);
        cut_and_stop(&stops); /* one of both */
        const side *s = stopped_link == a.r->link ? &a : &b;
        T_EQ_I64(side_load(s, "k", "loaded", 0), CELLAR_OK);
        (void)sem_post(&goes);
        T_CHECK(side_proven(s));
        side_fence(s);
        T_EQ_I64(look(s, got), CELLAR_OK);
        T_EQ_STR(got, "set");
        left_close();
    }
}

T_CASE(delete_by_pattern_without_an_answer_ends_all_entries)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_remote_namespace_config o = side_raw(raw);
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, &o);
        T_EQ_I64(side_set(&a, "k1", "set"), CELLAR_OK);
        loses = true;
        T_EQ_I64(cellar_delete_by_pattern(a.users, "k*", 2, NULL),
                 raw ? CELLAR_E_TIMEOUT : CELLAR_DEFERRED);
        loses = false;
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k1")), 0);
        T_CHECK(side_proven(&a));
        side_fence(&a);
        T_CHECK(side_has(&a, "k1", NULL));
        left_close();
    }
}

T_CASE(set_behind_in_a_gap_is_never_an_old_value)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_remote_namespace_config o = side_raw(raw);
        T_REQUIRE(engine_start(&server, NULL));
        o.write = CELLAR_REMOTE_BEHIND;
        side_open(&a, server.socket, NULL, &o);
        side_fence(&a);
        cut_and_stop(&stops_at_gap);
        T_EQ_I64(side_set(&a, "k", "old"), CELLAR_DEFERRED);
        T_EQ_U64(side_stats(&a).queue_entries, 0);
        T_EQ_U64(side_stats(&a).queue_full, 0);
        T_CHECK(engine_ask(&server, "SET app:users:k new") != NULL);
        (void)sem_post(&goes);
        T_CHECK(side_proven(&a));
        side_fence(&a);
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0); /* the journal */
        T_EQ_I64(side_set(&a, "k", "next"), CELLAR_OK);
        side_sent(&a);
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
        left_close();
    }
}

/* ---- close ---- */

/* Open `a` behind the proxy, with a close that waits long, and `b`. Both have a value. */
static void far_open(uint32_t no_thread)
{
    cellar_remote_config ro = side_patient();
    ro.close_ms = 600000;
    ro.no_thread = no_thread;
    both_open_far(&ro, NULL);
    T_CHECK(side_set(&a, "k", "old") == CELLAR_OK && side_has(&b, "k", "old"));
}

/* Close `a`. The delete of its journal has reached the server and `b`. */
static void far_close(void)
{
    side_close(&a);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
}

/* Let the server answer again when the close has begun: it refuses calls of the namespace first. */
static void *thaw(void *unused)
{
    while (cellar_delete(a.users, "other", 5) != CELLAR_E_CLOSED) { engine_pause_ms(1); }
    byte_proxy_freeze(&proxy, 0, false);
    return unused;
}

T_CASE(close_waits_for_the_link_and_sends_the_journal)
{
    pthread_t t;
    far_open(0);
    atomic_store(&proxy.fresh.way[0].frozen, true); /* no handshake has an answer */
    byte_proxy_cut_all(&proxy);
    while (cellar_remote_state_get(a.r) != CELLAR_REMOTE_DOWN) { engine_pause_ms(1); }
    T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_DEFERRED);
    T_REQUIRE(pthread_create(&t, NULL, thaw, NULL) == 0);
    cellar_remote_close(a.r);
    pthread_join(t, NULL);
    a.r = NULL;
    far_close();
}

/* The delete finds the lost connection, and only the close runs the link behind it. */
T_CASE(close_without_a_thread_makes_the_link_again)
{
    far_open(1);
    byte_proxy_cut_all(&proxy);
    T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_DEFERRED);
    T_EQ_I64(cellar_remote_state_get(a.r), CELLAR_REMOTE_DOWN);
    far_close();
}

/* A wait would last ten minutes. */
T_CASE(close_without_writes_waits_for_no_server)
{
    for (uint32_t no_thread = 0; no_thread < 2; no_thread++) {
        cellar_remote_config ro = side_patient();
        ro.close_ms = 600000;
        ro.no_thread = no_thread;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, NULL);
        T_CHECK(side_set(&a, "k", "1") == CELLAR_OK);
        engine_kill(&server);
        left_close();
    }
}

T_MAIN("cellar_remote_queue")
