/* SPDX-License-Identifier: MIT
 *
 * Aim:    the bound of each algorithm holds over `now_ns` of the results when readings are older
 *         than ones before them: by cellar_limiter_check_with, and by a clock that goes back.
 * Method: random limiters, of one word and of several, alone and as the first of a chain, with ticks and
 *         snapshots between the calls. What was admitted is sorted by `now_ns`; every window is
 *         counted. LIMIT_OLDER=n limiters. */
#include "tests/support/limit_kit.h"

enum { KEYS = 3, CALLS = 600, KINDS = 10 };
enum { BUCKET, STRICT, LOG, WINDOW, MINUTE, BUCKET_WIDE, STRICT_WIDE, LOG_WIDE, WINDOW_WIDE,
       MINUTE_WIDE };

typedef enum way { OLDER_READINGS, CLOCK_GOES_BACK, CHAIN_ON_SUCH_A_CLOCK } way;

static struct trial {
    cellar_limiter *l, *second; /* of the chain */
    cellar_rule rule[2];
    uint32_t rules;
    int kind;
    uint64_t n, window, bound;
    uint64_t opened_ns; /* the clock does not go back before it; readings of callers do */
    uint64_t newest_ns; /* of the clock: behind it a snapshot is not promised to keep its times */
    uint64_t at[KEYS][CALLS]; /* now_ns of what was admitted */
    size_t count[KEYS];
    uint64_t rng;
} trial;

static struct store { unsigned char bytes[1 << 16]; size_t len, at; } store;

static int save(const void *bytes, size_t len, bool last, void *ctx)
{
    (void)ctx, (void)last;
    if (len > sizeof store.bytes - store.len) { return 1; }
    memcpy(store.bytes + store.len, bytes, len);
    store.len += len;
    return 0;
}
static int load(void *buf, size_t cap, size_t *len, void *ctx)
{
    (void)ctx;
    *len = cap < store.len - store.at ? cap : store.len - store.at;
    memcpy(buf, store.bytes + store.at, *len);
    store.at += *len;
    return 0;
}

static uint64_t below(uint64_t n) { return kit_below(&trial.rng, n); }

static void set_clock(uint64_t ns)
{
    static const uint64_t began_ns = UINT64_C(1000000000000), began_ms = UINT64_C(1767225600000);
    if (ns > trial.newest_ns) { trial.newest_ns = ns; }
    atomic_store(&kit.now_ns, ns);
    atomic_store(&kit.wall_ms, began_ms + (ns - began_ns) / KIT_MS);
    atomic_store(&kit.boot_ms, (ns - began_ns) / KIT_MS);
}

static void open_limiter(void)
{
    cellar_limiter_config c = kit_config();
    c.max_bytes = 64u << 10;
    c.snapshot_write = save;
    c.snapshot_read = load;
    store.at = 0;
    T_REQUIRE(cellar_limiter_open(&c, trial.rule, trial.rules, &trial.l) == CELLAR_OK);
    trial.opened_ns = kit_clock(NULL);
}

/* Close and open again at the same moment: the snapshot brings everything back. */
static void reopen(void)
{
    store.len = 0;
    kit_close(trial.l);
    open_limiter();
}

static void draw(int kind)
{
    const uint64_t n = 1 + below(6), burst = 1 + below(n);
    const uint64_t w = below(2) == 0 ? (1 + below(3)) * KIT_S : 1000 + below(KIT_MS);
    const int base = kind % 5;
    trial.kind = kind;
    trial.n = trial.bound = n;
    trial.window = w;
    trial.rules = kind >= BUCKET_WIDE ? 2 : 1;
    trial.rule[1] = cellar_rule_token_bucket(1000000, KIT_S, 1000000);
    switch (base) {
    case BUCKET: {
        const uint64_t t = (w * 64 + n - 1) / n;
        trial.rule[0] = cellar_rule_token_bucket(n, w, burst);
        trial.bound = burst + (w * 64 + t - 1) / t - 1;
        break;
    }
    case STRICT: trial.rule[0] = cellar_rule_token_bucket_strict(n, w, burst); break;
    case LOG: trial.rule[0] = cellar_rule_sliding_log(n, w); break;
    case WINDOW:
        trial.rule[0] = cellar_rule_sliding_window(n, w);
        trial.bound = 2 * n - 1;
        break;
    default:
        trial.rule[0] = cellar_rule_fixed_window(n, CELLAR_PER_MINUTE);
        trial.window = 60 * KIT_S;
    }
    memset(trial.count, 0, sizeof trial.count);
}

static uint64_t step_back(uint64_t now)
{
    if (below(100) == 0) { return below(now); } /* before the limiter's start */
    return below(3) != 0 ? 0 : below(trial.window * (below(2) == 0 ? 4 : 1));
}

static cellar_err ask(way how, const char *key, uint64_t cost, cellar_limiter_result *r)
{
    const uint64_t now = kit_clock(NULL), back = step_back(now);
    const uint64_t earlier = now - back > trial.opened_ns ? now - back : trial.opened_ns;
    const cellar_limiter_link links[2] = { { trial.second, key, 1, 1 }, { trial.l, key, 1, cost } };
    if (how == OLDER_READINGS) {
        return kit_check_at(trial.l, key, 1, cost, now - back, r);
    }
    if (below(5) == 0) { set_clock(earlier < now ? earlier : now); }
    const cellar_err err = how == CHAIN_ON_SUCH_A_CLOCK
                               ? cellar_limiter_check_chain(links, 2, r, NULL)
                               : cellar_limiter_check(trial.l, key, 1, cost, r);
    if (below(20) == 0) { T_EQ_I64(cellar_tick(trial.l, 0, NULL), CELLAR_OK); }
    if (below(100) == 0 && kit_clock(NULL) >= trial.newest_ns) { reopen(); }
    if (below(2) == 0) { set_clock(now); }
    return err;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The most that one window, or one minute, holds. */
static uint64_t most_of(uint64_t *at, size_t count)
{
    uint64_t most = 0;
    qsort(at, count, sizeof *at, compare);
    for (size_t i = 0, j = 0; i < count; i++) {
        if (trial.kind % 5 == MINUTE) { /* the kit's minutes: 40 s of its ns are over then */
            const uint64_t off = UINT64_C(1000000000000) % trial.window;
            while ((at[i] - off) / trial.window != (at[j] - off) / trial.window) { j++; }
        } else {
            while (at[i] - at[j] >= trial.window) { j++; }
        }
        if (i - j + 1 > most) { most = i - j + 1; }
    }
    return most;
}

static void try_one(uint64_t number, int kind, way how)
{
    trial.rng = t_seed() + number * 77777;
    trial.newest_ns = 0;
    set_clock(UINT64_C(1000000000000) + below(100) * KIT_S);
    draw(kind);
    open_limiter();
    trial.second = kit_open1(cellar_rule_token_bucket(1000000, KIT_S, 1000000));
    for (int i = 0; i < CALLS; i++) {
        const size_t k = (size_t)below(KEYS);
        const char key[2] = { (char)('a' + k), '\0' };
        const uint64_t cost = below(10) != 0, now = kit_clock(NULL);
        cellar_limiter_result r;
        if (below(3) == 0) {
            set_clock(now + below(below(4) == 0 ? trial.window : trial.window / trial.n + 1));
        }
        if (ask(how, key, cost, &r) == CELLAR_OK && cost != 0) {
            trial.at[k][trial.count[k]++] = r.now_ns;
        }
    }
    for (size_t k = 0; k < KEYS; k++) {
        const uint64_t most = most_of(trial.at[k], trial.count[k]);
        if (T_CHECK(most <= trial.bound)) { continue; }
        printf("# kind %d, way %d, number %" PRIu64 ": N %" PRIu64 ", window %" PRIu64 ": %" PRIu64
               " of at most %" PRIu64 "\n", kind, (int)how, number, trial.n, trial.window, most,
               trial.bound);
    }
    kit_close(trial.second);
    kit_close(trial.l);
    store.len = 0;
}

static void try_all(way how)
{
    const uint64_t each = t_env_u64("LIMIT_OLDER", 600) / KINDS;
    for (uint64_t i = 0; i < each && !t_failed(); i++) {
        for (int kind = 0; kind < KINDS; kind++) { try_one(i * KINDS + (uint64_t)kind, kind, how); }
    }
}
T_CASE(older_readings_stay_within_every_bound) { try_all(OLDER_READINGS); }
T_CASE(clock_that_goes_back_stays_within_every_bound) { try_all(CLOCK_GOES_BACK); }
T_CASE(chain_stays_within_every_bound) { try_all(CHAIN_ON_SUCH_A_CLOCK); }

/* ---- permits ---- */

/* Of the permits that were not released, at most N have a hold beyond the newest reading. */
T_CASE(permits_stay_within_their_number)
{
    enum { N = 3, MOST = 4000 };
    static struct { uint64_t token, until; } out[MOST];
    uint64_t newest = 0, rng = t_seed();
    const uint64_t opened = kit_clock(NULL);
    cellar_limiter *l = kit_open1(cellar_rule_concurrency(N));
    for (size_t i = 0; i < MOST; i++) {
        const uint64_t hold_ms = 1 + kit_below(&rng, 1000), dice = kit_below(&rng, 4);
        const uint64_t now = kit_clock(NULL), s = kit_below(&rng, KIT_S);
        atomic_store(&kit.now_ns, dice == 0 && now - s > opened ? now - s
                                  : dice == 1 ? now + s : now);
        const uint64_t at = kit_clock(NULL);
        cellar_limiter_result r;
        newest = at > newest ? at : newest;
        out[i].until = 0;
        if (cellar_permit_acquire(l, "k", 1, (int64_t)hold_ms, &out[i].token, &r) ==
            CELLAR_OK) {
            out[i].until = at + hold_ms * KIT_MS;
        }
        T_EQ_U64(r.now_ns, at);
        const size_t j = (size_t)kit_below(&rng, i + 1);
        if (dice == 2 && cellar_permit_release(l, "k", 1, out[j].token) == CELLAR_OK) {
            out[j].until = 0;
        }
        uint64_t alive = 0;
        for (size_t k = 0; k <= i; k++) { alive += out[k].until > newest; }
        T_CHECK(alive <= N);
    }
    kit_close(l);
}

/* ---- what one older reading says ---- */

static cellar_limiter_result at(cellar_limiter *l, uint64_t now_ns, cellar_err want)
{
    cellar_limiter_result r;
    memset(&r, 0xa5, sizeof r);
    T_EQ_I64(kit_check_at(l, "k", 1, 1, now_ns, &r), want);
    return r;
}

T_CASE(result_tells_the_reading_that_was_used)
{
    const uint64_t t = UINT64_C(2000) * KIT_S;
    set_clock(t);
    cellar_limiter *bucket = kit_open1(cellar_rule_token_bucket(10, KIT_S, 5));
    cellar_limiter *log = kit_open1(cellar_rule_sliding_log(1, KIT_S));
    cellar_limiter *count = kit_open1(cellar_rule_sliding_window(2, KIT_S));
    cellar_limiter *minute = kit_open1(cellar_rule_fixed_window(2, CELLAR_PER_MINUTE));
    set_clock(t + 100 * KIT_S);
    const uint64_t now = t + 100 * KIT_S;
    T_EQ_U64(at(bucket, now, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(bucket, now - 1, CELLAR_OK).now_ns, now - 1);
    T_EQ_U64(at(log, now, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(log, now - KIT_S / 2, CELLAR_LIMITED).now_ns, now);
    T_EQ_U64(at(log, now - KIT_S / 2, CELLAR_LIMITED).retry_after_ns, KIT_S + KIT_S / 2);
    T_EQ_U64(at(count, now + KIT_S / 2, CELLAR_OK).now_ns, now + KIT_S / 2);
    T_EQ_U64(at(count, now - 3 * KIT_S, CELLAR_OK).now_ns, now); /* its window's start */
    T_EQ_U64(at(count, now - KIT_S, CELLAR_LIMITED).retry_after_ns, 2 * KIT_S + KIT_S / 2);
    T_EQ_U64(at(minute, 5, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(minute, now + CELLAR_DAY_NS, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(bucket, 1, CELLAR_LIMITED).now_ns, t - KIT_S);  /* before the start */
    T_EQ_U64(at(log, 0, CELLAR_LIMITED).now_ns, now);
    kit_close(bucket);
    kit_close(log);
    kit_close(count);
    kit_close(minute);
}

T_ONE_THREAD;
T_MAIN("cellar_limit_older")
