/* SPDX-License-Identifier: MIT
 *
 * Aim:    the connection is lost at any byte of a command or of its reply: no process then serves
 *         an old value, and the code of the call is true.
 * Method: process `a` reaches the server through a proxy, process `b` directly; both have the old
 *         value in memory. The proxy cuts the connection after n bytes of what one call of `a`
 *         sends, and then after n bytes of what it receives, for each n. When the link of `a` is
 *         proven again and both processes have passed a fence, both are asked.
 * CODES   OK: the server has the change. DEFERRED: the key is gone. Another error: the change did
 *         not happen. A value that a process returns is the one that the server has.
 * SIZES   CUTS_STEP=n: a cut before the first byte, behind the last one, and at every n-th byte
 *         between them from one that the seed draws. Default 4, in `make test` 16; 1: each byte.
 *         CUTS_RANDOM=n: n random cuts in each case, with a second cut of the next connection.
 *         Default 4. */
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/two_sides.h"

enum { CUTS_WAIT_MS = 20000 };

/* What a call may leave behind, besides the rules of its code. */
enum {
    CUTS_KEPT = 1,    /* an error keeps the old value */
    CUTS_GONE = 2,    /* OK: the key may be gone */
    CUTS_LOCAL = 4,   /* OK: only the process itself has the value, until the cut */
    CUTS_NEWER = 8,   /* `b` sets `after` while the link of `a` is away; it may be gone */
    CUTS_EITHER = 16  /* an error keeps the old value, or the server has the new one */
};

typedef struct cuts_command {
    const char *name, *before, *after; /* NULL: no value */
    cellar_err (*run)(void);
    void (*prepare)(void);          /* NULL: both processes get `before` */
    unsigned flags;
    bool (*holds)(cellar_err err);  /* of a command without a value */
} cuts_command;

static char key[32]; /* of this cut */

/* ---- both processes ---- */

/* Return the newest connection for requests of `a`: *data* connects before *subscriber*. */
static byte_proxy_line *line_of_data(void)
{
    return &proxy.line[(atomic_load(&proxy.lines) - 2) % BYTE_PROXY_LINES];
}

/* Wait until the link fell and is proven again, and nothing waits to be sent. */
static bool link_is_back(uint64_t gaps)
{
    for (int i = 0; i < CUTS_WAIT_MS * 5; i++) {
        const struct timespec t = { 0, 200000 };
        const cellar_remote_stats s = side_stats(&a);
        if (s.gaps > gaps && s.state == CELLAR_REMOTE_PROVEN &&
            s.journal_keys + s.queue_entries == 0) {
            return true;
        }
        (void)nanosleep(&t, NULL);
    }
    return false;
}

static bool same_text(const char *x, const char *y)
{
    return x == y || (x != NULL && y != NULL && strcmp(x, y) == 0);
}

/* Return the value that a process serves; NULL: none. */
static const char *served(const side *s, char got[64])
{
    return cellar_get_str(s->users, key, got, 64) == CELLAR_OK ? got : NULL;
}

/* Return whether the bytes of the server end with a value. */
static bool server_has(const char *value)
{
    const redisReply *r = engine_ask(&server, "GET app:users:%s", key);
    return r != NULL && r->type == REDIS_REPLY_STRING && r->len >= strlen(value) &&
           memcmp(r->str + r->len - strlen(value), value, strlen(value)) == 0;
}

/* ---- what is true behind a cut ---- */

/* Return whether the journal has deleted the key. */
static bool deferred(const cuts_command *c, cellar_err err)
{
    return err == CELLAR_DEFERRED ||
           (err == CELLAR_E_TIMEOUT && (c->flags & (CUTS_KEPT | CUTS_EITHER)) == 0); /* `strict` */
}

/* Return whether a process may serve `got`. */
static bool may_serve(const cuts_command *c, cellar_err err, const side *s, const char *got)
{
    const bool may_be_gone = (c->flags & (CUTS_GONE | CUTS_LOCAL)) != 0;
    const bool has_it = s == &a || (c->flags & CUTS_LOCAL) == 0;
    if ((c->flags & CUTS_NEWER) != 0) { return got == NULL || same_text(got, c->after); }
    if (err == CELLAR_OK) {
        return got == NULL ? c->after == NULL || may_be_gone : has_it && same_text(got, c->after);
    }
    return got == NULL || ((c->flags & CUTS_EITHER) != 0 && same_text(got, c->after)) ||
           (!deferred(c, err) && (c->flags & (CUTS_KEPT | CUTS_EITHER)) != 0 &&
            same_text(got, c->before));
}

static void check_side(const cuts_command *c, cellar_err err, const side *s, const char *what)
{
    char text[64];
    const char *got = served(s, text);
    const bool own = (c->flags & CUTS_LOCAL) != 0;
    const bool fine = may_serve(c, err, s, got) && (got == NULL || own || server_has(got));
    T_CHECK(fine);
    if (!fine) {
        printf("# %s, %s: %s returned %d, %s serves %s\n", c->name, what, key, err,
               s == &a ? "a" : "b", got != NULL ? got : "nothing");
    }
}

static void check(const cuts_command *c, cellar_err err, const char *what)
{
    if (c->holds == NULL) {
        check_side(c, err, &a, what);
        check_side(c, err, &b, what);
        return;
    }
    const bool fine = c->holds(err);
    T_CHECK(fine);
    if (!fine) { printf("# %s, %s: %s returned %d\n", c->name, what, key, err); }
}

/* ---- one cut ---- */

/* Give both processes the value of before. */
static void old_value(const char *value)
{
    T_REQUIRE(side_set(&b, key, value) == CELLAR_OK);
    side_sent(&b); /* BEHIND */
    side_fence(&a);
    T_REQUIRE(side_has(&a, key, value));
    T_REQUIRE(side_has(&b, key, value));
}

static void prepare(const cuts_command *c)
{
    static unsigned runs;
    (void)snprintf(key, sizeof key, "k%04u", runs++ % 10000);
    if (c->prepare != NULL) { c->prepare(); }
    else if (c->before != NULL) { old_value(c->before); }
}

/* Set how the next connection begins. */
static void next_begins(const cuts_command *c, int way, int64_t next)
{
    atomic_store(&proxy.fresh.way[way].left, next);
    atomic_store(&proxy.fresh.way[0].frozen, (c->flags & CUTS_NEWER) != 0);
}

/* Wait for the next connection, let `b` write if the command says so, and let all go on. */
static void next_is_here(const cuts_command *c, uint32_t lines)
{
    while (atomic_load(&proxy.lines) < lines + 2) { engine_pause_ms(1); }
    if ((c->flags & CUTS_NEWER) != 0) {
        T_REQUIRE(side_set(&b, key, c->after) == CELLAR_OK);
        side_sent(&b);
    }
    for (int way = 0; way < 2; way++) { atomic_store(&proxy.fresh.way[way].left, -1); }
    atomic_store(&proxy.fresh.way[0].frozen, false);
    for (uint32_t i = lines; i < atomic_load(&proxy.lines); i++) {
        atomic_store(&proxy.line[i % BYTE_PROXY_LINES].way[0].frozen, false);
    }
}

/* Wait until the link is back, and until the second cut has come, if there is one. */
static bool all_is_heard(uint64_t gaps, uint32_t lines)
{
    for (int i = 0; i < 100; i++) {
        if (!link_is_back(gaps)) { return false; }
        for (uint32_t n = lines; n < atomic_load(&proxy.lines); n++) {
            byte_proxy_line *l = &proxy.line[n % BYTE_PROXY_LINES];
            for (int way = 0; way < 2; way++) { atomic_store(&l->way[way].left, -1); }
        }
        if (cellar_remote_fence(a.r, CUTS_WAIT_MS) == CELLAR_OK && link_is_back(gaps)) {
            return true;
        }
    }
    return false;
}

/* Run the command, and cut direction `way` of its connection after `n` bytes, or behind them if
 * there are fewer. `next`: cut the next connection, too, after so many bytes; below 0: no. */
static void cut(const cuts_command *c, int way, int64_t n, int64_t next)
{
    char what[64];
    prepare(c);
    byte_proxy_line *l = line_of_data();
    const uint64_t gaps = side_stats(&a).gaps;
    const uint32_t lines = atomic_load(&proxy.lines);
    (void)snprintf(what, sizeof what, "%s cut at %lld, then at %lld",
                   way == 0 ? "request" : "reply", (long long)n, (long long)next);
    next_begins(c, way, next);
    atomic_store(&l->way[way].left, n);
    const cellar_err err = c->run();
    (void)cellar_remote_fence(a.r, CUTS_WAIT_MS); /* bytes that are sent behind the call */
    byte_proxy_cut(l);
    next_is_here(c, lines);
    T_REQUIRE(all_is_heard(gaps, lines));
    side_fence(&b);
    check(c, err, what);
}

/* Count the bytes of a command in both directions. */
static void measure(const cuts_command *c, uint64_t bytes[2])
{
    prepare(c);
    side_fence(&a);
    byte_proxy_line *l = line_of_data();
    uint64_t fence[2];
    for (int way = 0; way < 2; way++) { bytes[way] = atomic_load(&l->way[way].passed); }
    side_fence(&a);
    for (int way = 0; way < 2; way++) {
        fence[way] = atomic_load(&l->way[way].passed) - bytes[way];
        bytes[way] += fence[way];
    }
    const cellar_err err = c->run();
    side_fence(&a); /* behind what the call has sent */
    for (int way = 0; way < 2; way++) {
        bytes[way] = atomic_load(&l->way[way].passed) - bytes[way] - fence[way];
    }
    if ((c->flags & CUTS_NEWER) != 0) { T_CHECK(side_set(&b, key, c->after) == CELLAR_OK); }
    side_sent(&b);
    side_fence(&a);
    side_fence(&b);
    T_EQ_I64(err, CELLAR_OK);
    check(c, err, "no cut");
    T_CHECK(bytes[0] >= 20 && bytes[0] < 2000 && bytes[1] >= 1 && bytes[1] < 2000);
}

static uint64_t draws;

static uint32_t draw(uint64_t n)
{
    draws = draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((draws >> 33) % n);
}

/* Cut one direction of a command. Return the number of cuts. */
static uint64_t cut_way(const cuts_command *c, int way, int64_t bytes)
{
    const uint64_t step = t_env_u64("CUTS_STEP", t_reduced() ? 16 : 4);
    uint64_t cuts = 2;
    cut(c, way, 0, -1);
    for (int64_t n = 1 + draw(step); n < bytes && !t_failed(); n += (int64_t)step, cuts++) {
        cut(c, way, n, -1);
    }
    if (!t_failed()) { cut(c, way, bytes, -1); }
    return cuts;
}

/* Cut each command, then at random bytes with a second cut. */
static void cut_all(const cuts_command *commands, size_t count)
{
    const uint64_t random = t_env_u64("CUTS_RANDOM", t_reduced() ? 0 : 4);
    draws = t_seed();
    for (size_t i = 0; i < count && !t_failed(); i++) {
        uint64_t bytes[2], cuts = 0;
        measure(&commands[i], bytes);
        for (int way = 0; way < 2; way++) {
            cuts += cut_way(&commands[i], way, (int64_t)bytes[way]);
        }
        printf("# %s: request %u bytes, reply %u bytes, %u cuts\n", commands[i].name,
               (unsigned)bytes[0], (unsigned)bytes[1], (unsigned)cuts);
    }
    for (uint64_t i = 0; i < random && !t_failed(); i++) {
        cut(&commands[draw(count)], (int)draw(2), draw(200), draw(1200));
    }
}
#define CUT_ALL(commands) cut_all(commands, sizeof(commands) / sizeof *(commands))
/* Cut all commands of a list on namespaces with one changed option. */
#define CUT_ALL_WITH(option, value, commands) \
    do { \
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default(); \
        o.option = value; \
        both_open_far(NULL, &o); \
        CUT_ALL(commands); \
        left_close(); \
    } while (0)

/* ---- set, delete and conditions ---- */

static cellar_err run_set(void) { return side_set(&a, key, "new"); }
static cellar_err run_delete(void) { return cellar_delete(a.users, key, strlen(key)); }
static cellar_err run_clear(void) { return cellar_clear(a.users); }

/* No process knows the tag: its number is read before, and once more behind its own message. */
static cellar_err run_set_tagged(void) { return side_set_tagged(&a, key, "new", key); }

static cellar_err run_set_ttl(void)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 600500; /* the digits do not change during a cut */
    return cellar_set(a.users, key, strlen(key), "new", 3, &o);
}

static cellar_err run_set_if_absent(void)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    return cellar_set(a.users, key, strlen(key), "new", 3, &o);
}

static uint64_t old_version;

static void prepare_version(void)
{
    cellar_set_opts o = { .struct_size = sizeof o, .new_version = &old_version };
    T_REQUIRE(cellar_set(a.users, key, strlen(key), "old", 3, &o) == CELLAR_OK);
    T_REQUIRE(side_has(&b, key, "old"));
}

static cellar_err run_set_if_version(void)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_VERSION,
                          .if_version = old_version };
    return cellar_set(a.users, key, strlen(key), "new", 3, &o);
}

static cellar_err run_delete_if_version(void)
{
    cellar_delete_opts o = { .struct_size = sizeof o, .if_version = old_version };
    return cellar_delete_with(a.users, key, strlen(key), &o);
}

static cellar_err run_increment(void)
{
    return cellar_increment(a.users, key, strlen(key), 1, 0, NULL, NULL);
}

static cellar_err make_new(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    T_CHECK(old != NULL && old_len == 3 && memcmp(old, "old", 3) == 0);
    return cellar_buf_append(out, "new", 3);
}

static cellar_err run_update(void)
{
    return cellar_update(a.users, key, strlen(key), NULL, make_new, NULL);
}

static const cuts_command through[] = {
    { "set", "old", "new", run_set, NULL, 0, NULL },
    { "set with a tag", "old", "new", run_set_tagged, NULL, 0, NULL },
    { "set with a TTL", "old", "new", run_set_ttl, NULL, 0, NULL },
    { "delete", "old", NULL, run_delete, NULL, 0, NULL },
    { "set, then a newer one", "old", "newer", run_set, NULL, CUTS_NEWER, NULL },
    { "delete, then a set", "old", "newer", run_delete, NULL, CUTS_NEWER, NULL },
    { "set if absent", NULL, "new", run_set_if_absent, NULL, CUTS_EITHER, NULL },
    { "set if version", "old", "new", run_set_if_version, prepare_version, CUTS_EITHER, NULL },
    { "delete if version", "old", NULL, run_delete_if_version, prepare_version, CUTS_KEPT, NULL },
    { "increment", "11111111", "21111111", run_increment, NULL, CUTS_EITHER, NULL },
    { "update", "old", "new", run_update, NULL, CUTS_EITHER, NULL },
};

T_CASE(writes_cut_at_each_byte_leave_no_old_value)
{
    both_open_far(NULL, NULL);
    CUT_ALL(through);
}

static const cuts_command strict[] = {
    { "strict set", "old", "new", run_set, NULL, 0, NULL },
    { "strict delete", "old", NULL, run_delete, NULL, 0, NULL },
};

T_CASE(strict_writes_cut_at_each_byte_leave_no_old_value)
{
    CUT_ALL_WITH(strict, 1, strict);
}

static const cuts_command queued[] = {
    { "BEHIND set", "old", "new", run_set, NULL, CUTS_GONE, NULL },
    { "BEHIND set, then a newer one", "old", "newer", run_set, NULL, CUTS_NEWER, NULL },
    { "BEHIND delete", "old", NULL, run_delete, NULL, CUTS_GONE, NULL },
};

T_CASE(queued_writes_cut_at_each_byte_leave_no_old_value)
{
    CUT_ALL_WITH(write, CELLAR_REMOTE_BEHIND, queued);
}

/* ---- INVALIDATE: each process loads ---- */

/* Load by `a`, with a context of `text`. */
static cellar_err load_by(cellar_loader_fn fn, const char *text)
{
    cellar_result out = cellar_result_default();
    const cellar_err err = cellar_get_or_load(a.users, key, strlen(key), NULL, fn,
                                              (void *)(uintptr_t)text, &out);
    side_take(&out);
    if (err == CELLAR_OK) { T_EQ_STR(side_loaded.text, text); }
    return err;
}

static void prepare_loads(void)
{
    side_fence(&a);
    side_fence(&b);
    T_REQUIRE(side_load(&a, key, "old", 0) == CELLAR_OK);
    T_REQUIRE(side_load(&b, key, "old", 0) == CELLAR_OK);
    T_REQUIRE(side_has(&a, key, "old"));
    T_REQUIRE(side_has(&b, key, "old"));
}

static const cuts_command invalidate[] = {
    { "INVALIDATE set", "old", "new", run_set, prepare_loads, CUTS_LOCAL, NULL },
    { "INVALIDATE delete", "old", NULL, run_delete, prepare_loads, CUTS_LOCAL, NULL },
};

T_CASE(invalidations_cut_at_each_byte_leave_no_old_value)
{
    CUT_ALL_WITH(write, CELLAR_REMOTE_INVALIDATE, invalidate);
}

/* ---- RAW ---- */

static const cuts_command raw[] = {
    { "RAW clear", "old", NULL, run_clear, NULL, CUTS_KEPT, NULL },
    { "RAW set", "old", "new", run_set, NULL, 0, NULL },
    { "RAW delete", "old", NULL, run_delete, NULL, 0, NULL },
    { "RAW set if absent", NULL, "new", run_set_if_absent, NULL, CUTS_EITHER, NULL },
    { "RAW set if version", "old", "new", run_set_if_version, prepare_version, CUTS_EITHER, NULL },
    { "RAW increment", "11111111", "11111112", run_increment, NULL, CUTS_EITHER, NULL },
    { "RAW update", "old", "new", run_update, NULL, CUTS_EITHER, NULL },
};

T_CASE(raw_writes_cut_at_each_byte_leave_no_old_value)
{
    CUT_ALL_WITH(values, CELLAR_REMOTE_RAW, raw);
}

/* ---- many keys ---- */

static void prepare_tagged(void)
{
    T_REQUIRE(side_set_tagged(&b, key, "old", "seen") == CELLAR_OK);
    side_fence(&a);
    T_REQUIRE(side_has(&a, key, "old"));
    T_REQUIRE(side_has(&b, key, "old"));
}

static cellar_err run_version(void) { return cellar_version_set(a.users, 0, NULL); }

static cellar_err run_tag_hard(void)
{
    return cellar_delete_by_tag(a.users, "seen", 4, CELLAR_TAG_HARD);
}

static cellar_err run_tag_soft(void)
{
    return cellar_delete_by_tag(a.users, "seen", 4, CELLAR_TAG_SOFT);
}

static cellar_err run_pattern(void)
{
    char pattern[40];
    const int len = snprintf(pattern, sizeof pattern, "%.*s*", (int)strlen(key) - 1, key);
    return cellar_delete_by_pattern(a.users, pattern, (size_t)len, NULL);
}

static const cuts_command many[] = {
    { "delete by pattern", "old", NULL, run_pattern, NULL, 0, NULL },
    { "clear", "old", NULL, run_clear, NULL, 0, NULL },
    { "version increment", "old", NULL, run_version, NULL, 0, NULL },
    { "hard delete of a tag", "old", NULL, run_tag_hard, prepare_tagged, 0, NULL },
    { "soft delete of a tag", "old", NULL, run_tag_soft, prepare_tagged, 0, NULL },
};

T_CASE(changes_of_many_keys_cut_at_each_byte_leave_no_old_value)
{
    both_open_far(NULL, NULL);
    CUT_ALL(many);
}

/* ---- loads ---- */

static void prepare_nothing(void)
{
    T_REQUIRE(side_has(&a, key, NULL));
    T_REQUIRE(side_has(&b, key, NULL));
}

static cellar_err run_load(void)
{
    T_CHECK(load_by(side_loader, "new") == CELLAR_OK);
    return CELLAR_OK;
}

/* Another process writes a newer value while the loader runs. */
static cellar_err load_overtaken(cellar_load *load, const void *k, size_t len, void *text)
{
    T_CHECK(side_set(&b, key, "newer") == CELLAR_OK);
    return side_loader(load, k, len, text);
}

static cellar_err run_load_overtaken(void)
{
    T_CHECK(load_by(load_overtaken, "old") == CELLAR_OK);
    return CELLAR_OK;
}

static cellar_err load_fails(cellar_load *load, const void *k, size_t len, void *text)
{
    (void)k, (void)len, (void)text;
    return cellar_load_fail(load, 7, 0, 0);
}

static cellar_err run_load_that_fails(void)
{
    T_EQ_I64(load_by(load_fails, ""), CELLAR_E_LOADER);
    return CELLAR_OK;
}

static const cuts_command loads[] = {
    { "load", NULL, "new", run_load, prepare_nothing, CUTS_GONE, NULL },
    { "load that a set overtakes", NULL, "newer", run_load_overtaken, prepare_nothing, 0, NULL },
    { "load that fails", NULL, NULL, run_load_that_fails, prepare_nothing, 0, NULL },
};

T_CASE(loads_cut_at_each_byte_leave_no_old_value)
{
    both_open_far(NULL, NULL);
    CUT_ALL(loads);
}

/* ---- locks and limiters ---- */

static cellar_remote_lock held;

static cellar_err try_lock(const side *s, cellar_remote_lock *lk)
{
    return cellar_remote_lock_acquire(s->r, key, strlen(key), NO_WAIT, lk);
}

static cellar_err release_lock(void)
{
    return cellar_remote_lock_release(a.r, key, strlen(key), &held);
}

static void prepare_lock(void) { T_REQUIRE(try_lock(&a, &held) == CELLAR_OK); }
static void prepare_no_lock(void) { held = (cellar_remote_lock){ .fence = 0 }; }
static cellar_err run_lock(void) { return try_lock(&a, &held); }

/* One owner at most. A failed call leaves no handle; its lease may have to end. */
static bool lock_has_one_owner(cellar_err err)
{
    cellar_remote_lock other;
    const cellar_err second = try_lock(&b, &other);
    if (err != CELLAR_OK) {
        return held.fence == 0 && (second == CELLAR_OK || second == CELLAR_E_BUSY);
    }
    return held.fence != 0 && second == CELLAR_E_BUSY && release_lock() == CELLAR_OK;
}

/* A release without an answer is repeated. */
static bool lock_is_free(cellar_err err)
{
    cellar_remote_lock other;
    const uint64_t fence = held.fence;
    if (err != CELLAR_OK) {
        const cellar_err again = release_lock();
        if (again != CELLAR_OK && again != CELLAR_E_LOST) { return false; }
    }
    return try_lock(&b, &other) == CELLAR_OK && other.fence > fence;
}

static cellar_err run_extend(void)
{
    return cellar_remote_lock_extend(a.r, key, strlen(key), &held, 60000);
}

static bool lock_stays(cellar_err err)
{
    cellar_remote_lock other;
    (void)err;
    return cellar_remote_lock_check(a.r, &held) == CELLAR_OK &&
           try_lock(&b, &other) == CELLAR_E_BUSY && release_lock() == CELLAR_OK;
}

enum { CUTS_BURST = 3 };
static cellar_remote_limiter *limiter_a, *limiter_b;

static cellar_err admit(cellar_remote_limiter *l)
{
    return cellar_remote_limiter_check(l, key, strlen(key), 1, NULL);
}

static cellar_err run_limiter(void) { return admit(limiter_a); }

/* All processes together admit the burst, less a unit that the cut took. */
static bool limiter_keeps_the_burst(cellar_err err)
{
    int admitted = err == CELLAR_OK;
    for (int i = 0; i <= CUTS_BURST; i++) { admitted += admit(limiter_b) == CELLAR_OK; }
    return admitted <= CUTS_BURST && admitted >= CUTS_BURST - 1;
}

static const cuts_command shared[] = {
    { "lock", NULL, NULL, run_lock, prepare_no_lock, 0, lock_has_one_owner },
    { "extension of a lock", NULL, NULL, run_extend, prepare_lock, 0, lock_stays },
    { "release of a lock", NULL, NULL, release_lock, prepare_lock, 0, lock_is_free },
    { "limiter", NULL, NULL, run_limiter, NULL, 0, limiter_keeps_the_burst },
};

T_CASE(locks_and_limiters_cut_at_each_byte_keep_their_promise)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, 86400 * CELLAR_SECOND_NS, CUTS_BURST);
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .batch = 1,
                                       .offline = CELLAR_REMOTE_LIMITER_DENY };
    both_open_far(NULL, NULL);
    T_REQUIRE(cellar_remote_limiter_open(a.r, &rule, &o, &limiter_a) == CELLAR_OK);
    T_REQUIRE(cellar_remote_limiter_open(b.r, &rule, &o, &limiter_b) == CELLAR_OK);
    CUT_ALL(shared);
    cellar_remote_limiter_close(limiter_a);
    cellar_remote_limiter_close(limiter_b);
}

T_MAIN("cellar_remote_cuts")
