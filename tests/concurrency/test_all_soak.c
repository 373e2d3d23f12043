/* SPDX-License-Identifier: MIT
 *
 * Aim:    all objects of the library in one process, under load, for as long as wanted: no figure
 *         of the process grows, no log line of level ERROR, counts that balance, closes that end.
 * Method: two threads call every object at a pace, a third is a client of the port. The main thread
 *         ticks, samples the process each second, and reads the metrics of each object. A window
 *         has the largest samples of a sixtieth of the run. The slope over the windows behind the
 *         first quarter decides from an hour on. SOAK_SECONDS=7200 is such a run; SOAK_RATE=400 is
 *         the pace, in calls a second of each thread. */
#include <sys/stat.h>

#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_kit.h"
#include "cellar_object.h"
#include "cellar_remote.h"
#include "cellar_resp.h"
#include "cellar_work.h"
#include "tests/support/folder.h"
#include "tests/support/resp_client.h"

#define MUST(call) T_REQUIRE((call) == CELLAR_OK)
#define IN(type) .struct_size = sizeof(type)
#define COUNT(n) atomic_fetch_add(&(n), 1)

enum { CALLERS = 2, KEYS = 40000, THINGS = 3000, LOCKS = 40, WORDS = 400, WINDOWS = 60,
       CLOSE_MS = 30000, TEXT = 1 << 17, RSS = 0, DESCRIPTORS, THREADS, FILES, DISK, FIGURES };

static cellar *store, *server, *side, *pages, *things, *results, *rows, *shared[2];
static cellar_limiter *limiter;
static cellar_locks *locks;
static cellar_remote *far[2];
static cellar_remote_limiter *far_limiter;
static cellar_breaker *breaker;
static cellar_status *status;
static cellar_pool *pool;
static cellar_resp *port, *shared_port;
static char folder[2][T_FOLDER_MAX]; /* of sockets and files, of the disk tier */
static atomic_bool ended;
static atomic_uint errors, loads, made, freed, acquires, checks, tasks, messages, mailed, beats,
    passes[2], calls, commands;
static atomic_int inside[2][LOCKS]; /* owners of each lock, here and at the server */
static int64_t peak[WINDOWS][FIGURES];

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void hear(cellar_log_level level, const char *module, cellar_err code, const char *text,
                 void *ctx)
{
    (void)module, (void)code, (void)ctx;
    if (level != CELLAR_LOG_ERROR) { return; }
    COUNT(errors);
    printf("# ERROR: %s\n", text);
}
static const cellar_host_config host = { IN(host), .log = hear };

/* Check that a code is OK or one of these names. Return whether it is OK. */
static bool ok(cellar_err err, const char *others)
{
    if (!T_CHECK(err == CELLAR_OK || strstr(others, cellar_code_name(err)) != NULL)) {
        printf("# %s, not OK %s\n", cellar_code_name(err), others);
    }
    return err == CELLAR_OK;
}

/* ---- values that show their key, and functions of the program ---- */

/* Return the bytes of a value: the number of its key, again and again. */
static size_t value_of(uint32_t *to, uint32_t id)
{
    const size_t n = 50 + id * 2654435761u % 300;
    for (size_t i = 0; i < n; i++) { to[i] = id; }
    return n * sizeof *to;
}

static void must_be(const void *value, size_t len, uint32_t id)
{
    uint32_t want[WORDS];
    T_CHECK(len == value_of(want, id) && memcmp(value, want, len) == 0);
}

/* The source: some of its calls fail in a row, so that breakers open. */
static cellar_err load_page(cellar_load *load, const void *key, size_t len, void *ctx)
{
    uint32_t value[WORDS], id = (uint32_t)*(const char *)key;
    (void)ctx;
    if (len == sizeof id) { memcpy(&id, key, sizeof id); }
    if (COUNT(loads) % 5000 > 4970) { return CELLAR_E_IO; }
    return id < KEYS ? cellar_load_value(load, value, value_of(value, id))
                     : cellar_load_absent(load);
}

static cellar_err next_key(cellar_bytes *key, void *next)
{
    static uint32_t id;
    id = (*(uint32_t *)next)++;
    *key = (cellar_bytes){ &id, sizeof id };
    return id < KEYS ? CELLAR_OK : CELLAR_MISS;
}

static void free_thing(void *thing, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge, (void)why, (void)ctx;
    free(thing);
    COUNT(freed);
}

static cellar_verdict work(const cellar_task *t, void *ctx)
{
    const uint32_t id = *(const unsigned char *)t->payload;
    (void)ctx;
    if (id == 97) { return cellar_verdict_fail(); }
    if (id % 50 == 0 && t->attempt == 1) { return cellar_verdict_retry_after(50); }
    MUST(cellar_task_result_set(t, &id, sizeof id));
    return cellar_verdict_ok();
}

static cellar_verdict count(const cellar_task *t, void *counter)
{
    (void)t;
    COUNT(*(atomic_uint *)counter);
    return cellar_verdict_ok();
}

/* ---- open and close ---- */

static const char *path_of(const char *name)
{
    static _Thread_local char path[4][T_FOLDER_MAX + 16];
    static _Thread_local unsigned next;
    char *to = path[next++ % 4];
    (void)snprintf(to, sizeof path[0], "%s/%s", folder[0], name);
    return to;
}

static cellar *store_open(const char *l2_path)
{
    cellar *out;
    const cellar_config o = { IN(o), .memory_bytes = 16u << 20, .host = &host, .l2_path = l2_path,
                              .l2_bytes = l2_path != NULL ? 32u << 20 : 0 };
    MUST(cellar_open(&o, &out));
    return out;
}

static void pool_open(void)
{
    const cellar_pool_config o = { IN(o), .host = &host, .results = results, .dead_cap = 100,
#ifdef CELLAR_WITH_SQLITE
                                   .journal_path = path_of("journal"),
#endif
                                   .success_ttl_ms = 30000, .failed_ttl_ms = 30000, .workers = 2 };
    const cellar_schedule_spec every = { IN(every), .task = "beat", .interval_ms = 250 };
    const cellar_refresh_opts ro = { IN(ro), .ttl_ms = 5000 };
    MUST(cellar_pool_open(&o, &pool));
    MUST(cellar_task_register(pool, "work", work, NULL, NULL));
    MUST(cellar_task_register(pool, "beat", count, &beats, NULL));
    MUST(cellar_schedule_add(pool, "beat", &every));
    MUST(cellar_bus_group_add(pool, "mail", NULL, count, &mailed, NULL));
    MUST(cellar_bus_route(pool, "order.#", "mail", CELLAR_BUS_AMQP, true));
    MUST(cellar_refresh_loader(pool, rows, "rows", load_page, NULL, NULL));
    for (char key[] = "0"; key[0] <= '9'; key[0]++) {
        MUST(cellar_refresh_add(pool, rows, key, 1, "rows", 500, &ro));
    }
}

static void ports_open(void)
{
    char url[T_FOLDER_MAX + 96];
    const cellar_rule rule = cellar_rule_token_bucket(1000, CELLAR_SECOND_NS, 100);
    const cellar_remote_config ro = { IN(ro), .host = &host, .io_ms = 2000 };
    const cellar_namespace_config no = { IN(no), .default_ttl_ms = 60000, .tier = CELLAR_TIER_L1 };
    const cellar_resp_config so = { IN(so), .host = &host, .unix_path = path_of("shared"),
                                    .shared_bytes = 8u << 20 };
    const cellar_resp_config po = { IN(po), .host = &host, .unix_path = path_of("port"),
                                    .admin = path_of("admin"), .pool = pool, .writable = 1 };
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", so.unix_path);
    MUST(cellar_resp_open(server, &so, &shared_port));
    MUST(cellar_resp_start(shared_port));
    for (int i = 0; i < 2; i++) {
        MUST(cellar_namespace_open(i == 0 ? store : side, "shared", &no, &shared[i]));
        MUST(cellar_remote_open(shared[i], url, &ro, &far[i]));
        MUST(cellar_remote_attach(far[i], shared[i], NULL));
    }
    MUST(cellar_remote_limiter_open(far[0], &rule, NULL, &far_limiter));
    MUST(cellar_resp_open(store, &po, &port));
    MUST(cellar_resp_start(port));
}

static void all_open(void)
{
    const cellar_breaker_config bo = { IN(bo), .open_ms = 200 };
    const cellar_object_config oo = { IN(oo), .free_fn = free_thing };
    const cellar_namespace_config page = { IN(page), .default_ttl_ms = 120000, .bloom_keys = KEYS,
                                           .breaker = &bo };
    const cellar_namespace_config thing = { IN(thing), .object = &oo, .max_entries = THINGS / 2 };
    const cellar_limiter_config lo = { IN(lo), .host = &host, .snapshot_path = path_of("limits"),
                                       .snapshot_interval_ms = 2000 };
    const cellar_rule rate[] = { cellar_rule_token_bucket(20, CELLAR_SECOND_NS, 5),
                                 cellar_rule_sliding_log(600, 60 * CELLAR_SECOND_NS) };
    uint32_t first = 0;
    store = store_open(folder[1]);
    server = store_open(NULL);
    side = store_open(NULL);
    MUST(cellar_namespace_open(store, "pages", &page, &pages));
    MUST(cellar_bloom_feed(pages, next_key, &first, NULL));
    MUST(cellar_namespace_open(store, "things", &thing, &things));
    MUST(cellar_namespace_open(store, "results", NULL, &results));
    MUST(cellar_namespace_open(store, "rows", NULL, &rows));
    MUST(cellar_status_open(store, "status", NULL, &status));
    MUST(cellar_breaker_create(store, &bo, &breaker));
    MUST(cellar_limiter_open(&lo, rate, 2, &limiter));
    MUST(cellar_locks_open(NULL, &locks));
    pool_open();
    ports_open();
}

static void all_close(void)
{
    cellar *const all[] = { pages, things, results, rows, shared[0], shared[1],
                            store, server, side };
    const int64_t begin = now_ms();
    cellar_resp_close(port);
    MUST(cellar_pool_close(pool));
    cellar_remote_limiter_close(far_limiter);
    for (int i = 0; i < 2; i++) { cellar_remote_close(far[i]); }
    MUST(cellar_integrity_check(store)); /* the server reports ends of values until then */
    cellar_resp_close(shared_port);
    cellar_limiter_close(limiter);
    cellar_locks_close(locks);
    cellar_breaker_destroy(breaker);
    cellar_status_close(status);
    for (int i = 0; i < 9; i++) {
        MUST(i < 6 ? cellar_namespace_close(all[i]) : cellar_close(all[i]));
    }
    printf("# closes: %" PRId64 " ms\n", now_ms() - begin);
    T_CHECK(now_ms() - begin < CLOSE_MS);
    T_EQ_U64(freed, made);
}

/* ---- the load ---- */

static void use_page(uint32_t id, uint32_t r)
{
    uint32_t value[WORDS];
    cellar_result got = cellar_result_default();
    if (r % 8 == 0 && id < KEYS) {
        MUST(cellar_set(pages, &id, sizeof id, value, value_of(value, id), NULL));
    } else if (r % 64 == 1) {
        (void)ok(cellar_delete(pages, &id, sizeof id), "MISS");
    } else if (ok(cellar_get_or_load(pages, &id, sizeof id, NULL, load_page, NULL, &got),
                  id < KEYS ? "E_LOADER E_BREAKER_OPEN" : "E_LOADER E_BREAKER_OPEN ABSENT")) {
        must_be(got.value, got.value_len, id);
    }
    cellar_result_free(&got);
}

static void use_thing(uint32_t id)
{
    cellar_held held;
    COUNT(acquires);
    if (ok(cellar_object_acquire(things, &id, sizeof id, &held), "MISS")) {
        T_EQ_U64(*(uint32_t *)held.object, id);
        cellar_object_release(&held);
        return;
    }
    uint32_t *thing = malloc(256);
    T_REQUIRE(thing != NULL);
    *thing = id;
    COUNT(made);
    MUST(cellar_object_set(things, &id, sizeof id, thing, 256, NULL));
}

/* Two stores share a namespace: each reads what the other wrote. */
static void use_shared(cellar *ns, uint32_t id, uint32_t r)
{
    uint32_t value[WORDS];
    size_t len;
    if (r % 4 == 0) {
        (void)ok(cellar_set(ns, &id, sizeof id, value, value_of(value, id), NULL), "DEFERRED");
    } else if (ok(cellar_get(ns, &id, sizeof id, value, sizeof value, &len), "MISS")) {
        must_be(value, len, id);
    }
}

static void use_limits(uint32_t user, uint32_t r)
{
    cellar_limiter_result out;
    uint32_t pass;
    COUNT(checks);
    (void)ok(cellar_limiter_check(limiter, &user, sizeof user, 1, &out), "LIMITED");
    (void)ok(cellar_remote_limiter_check(far_limiter, &user, sizeof user, 1, &out), "LIMITED");
    const bool passed = ok(cellar_breaker_allow(breaker, &pass), "E_BREAKER_OPEN");
    COUNT(passes[passed]);
    if (passed) {
        MUST(cellar_breaker_record(breaker, pass, r % 4 == 0 ? CELLAR_BREAKER_FAILURE
                                                             : CELLAR_BREAKER_SUCCESS));
    }
}

/* Hold a lock alone: here, or at the server from one of two stores. */
static void use_lock(uint32_t at, uint32_t there, cellar_remote *link)
{
    const cellar_lock_opts o = { IN(o), .wait_timeout_ms = 500, .hold_ms = 600000 };
    const char *others = "E_TIMEOUT E_BREAKER_OPEN E_IO";
    cellar_remote_lock far_lock;
    cellar_lock lock;
    if (!ok(there ? cellar_remote_lock_acquire(link, &at, sizeof at, &o, &far_lock)
                  : cellar_lock_acquire(locks, &at, sizeof at, &o, &lock), others)) { return; }
    T_EQ_I64(COUNT(inside[there][at]), 0);
    T_EQ_I64(atomic_fetch_sub(&inside[there][at], 1), 1);
    (void)ok(there ? cellar_remote_lock_release(link, &at, sizeof at, &far_lock)
                   : cellar_lock_release(locks, &lock), others);
}

static void use_pool(uint32_t id, uint32_t r)
{
    if (r % 4 != 0) {
        MUST(cellar_task_submit(pool, "work", &id, sizeof id, NULL, NULL));
        COUNT(tasks);
    } else {
        MUST(cellar_bus_publish(pool, "order.7.paid", &id, sizeof id, NULL));
        COUNT(messages);
    }
}

static void use_status(uint32_t id)
{
    uint32_t value;
    MUST(cellar_status_set(status, &id, sizeof id, &id, sizeof id, "processing"));
    MUST(cellar_status_get(status, &id, sizeof id, &value, sizeof value, NULL, NULL));
    T_EQ_U64(value, id);
}

static void *caller(void *arg)
{
    const int64_t pace_ms = (int64_t)(8000 / t_env_u64("SOAK_RATE", 400));
    uint64_t x = t_seed() * 2 + 1 + (uintptr_t)arg;
    while (!atomic_load(&ended)) {
        for (int i = 0; i < 8; i++) {
            x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            const uint32_t r = (uint32_t)(x >> 36), id = r / 128;
            switch ((uint32_t)(x >> 32) % 16) {
            case 0: case 1: use_thing(id % THINGS); break;
            case 2: case 3: use_shared(shared[r / 4 & 1], id % 2000, r); break;
            case 4: use_limits(id % 4000, r); break;
            case 5: use_lock(id % LOCKS, r & 1, far[r / 2 & 1]); break;
            case 6: use_pool(id, r); break;
            case 7: use_status(id % 1000); break;
            default: use_page(id % (KEYS + 2000), r); break;
            }
            COUNT(calls);
        }
        pause_ms(pace_ms);
    }
    return NULL;
}

/* Send bytes; the answer must begin as said. */
static void ask(resp_client_kit *c, const char *bytes, const char *begin)
{
    char text[4096];
    rc_queue(c, bytes, strlen(bytes));
    rc_flush(c);
    const ssize_t n = recv(c->fd, text, sizeof text, 0);
    T_CHECK(n >= (ssize_t)strlen(begin) && memcmp(text, begin, strlen(begin)) == 0);
}

/* A client of the port, which connects again and again, and a monitor that reads its page. */
static void *client(void *unused)
{
    static const char *const words[][2] = {
        { "SET a 1 PX 60000\r\n", "+OK" }, { "GET a\r\n", "$1" }, { "INCR n\r\n", ":" },
        { "CELLAR.WHY a\r\n", "*" }, { "DEL a\r\n", ":1" } };
    while (!atomic_load(&ended)) {
        resp_client_kit c;
        T_REQUIRE(rc_connect(&c, path_of("port")));
        for (int i = 0; i < 50 && !atomic_load(&ended); i++) {
            ask(&c, words[i % 5][0], words[i % 5][1]);
            COUNT(commands);
            pause_ms(20);
        }
        rc_close(&c);
        T_REQUIRE(rc_connect(&c, path_of("admin")));
        ask(&c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200");
        rc_close(&c);
    }
    return unused;
}

/* ---- figures ---- */

static int64_t files_in(const char *path, int64_t *blocks)
{
    DIR *d = opendir(path);
    int64_t n = 0;
    struct stat st;
    T_REQUIRE(d != NULL);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) != 0) { continue; }
        n++;
        *blocks += st.st_blocks;
    }
    closedir(d);
    return n;
}

/* Return the KiB in memory. statm counts each thread's last pages late: 100 KiB more or less. */
static int64_t resident(void)
{
    char line[256];
    long long kib = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    T_REQUIRE(f != NULL);
    while (kib < 0 && fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "Rss: %lld", &kib);
    }
    fclose(f);
    T_REQUIRE(kib > 0);
    return kib;
}

static void sample(int64_t most[FIGURES])
{
    int64_t none = 0, blocks = 0, at[FIGURES];
    at[RSS] = resident();
    at[DESCRIPTORS] = files_in("/proc/self/fd", &none);
    at[THREADS] = files_in("/proc/self/task", &none);
    at[FILES] = files_in(folder[0], &blocks) + files_in(folder[1], &blocks);
    at[DISK] = blocks / 2;
    for (int i = 0; i < FIGURES; i++) { if (at[i] > most[i]) { most[i] = at[i]; } }
}

/* Return the slope over the windows behind the first quarter: percent of their mean an hour. */
static double slope(int i, int end, double seconds)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int w = end / 4; w < end; w++) {
        const double at = w * seconds / WINDOWS / 3600, v = (double)peak[w][i];
        n++, x += at, y += v, xx += at * at, xy += at * v;
    }
    return 100 * (n * xy - x * y) / (n * xx - x * x) / (y / n);
}

static void table(int end, double seconds)
{
    static const char *const name[] = { "RSS, KiB", "descriptors", "threads", "files",
                                        "disk, KiB" };
    printf("# after %.0f s: %u calls, %u commands, %u tasks, %u messages, %u loads, %u errors\n"
           "# | figure | after a quarter | now | %% an hour |\n# |---|--:|--:|--:|\n",
           seconds / WINDOWS * end, calls, commands, tasks, messages, loads, errors);
    for (int i = 0; i < FIGURES; i++) {
        printf("# | %s | %" PRId64 " | %" PRId64 " | %+.3f |\n", name[i], peak[end / 4][i],
               peak[end - 1][i], slope(i, end, seconds));
    }
    fflush(stdout);
}

/* Read the metrics of an object: no number below zero but ages, no counter below its last one. */
static void read_metrics(void *object, char *last)
{
    static char text[TEXT];
    size_t len;
    MUST(cellar_metrics_write(object, text, sizeof text, &len));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        const char *value = *line == '#' ? NULL : memrchr(line, ' ', (size_t)(end - line));
        if (value == NULL) { continue; }
        const size_t name = (size_t)(value - line) + 1;
        const char *old = memmem(line, name, "_total", 6) != NULL
                              ? memmem(last, strlen(last), line, name) : NULL;
        const double v = strtod(value, NULL), least = old != NULL ? strtod(old + name, NULL) : -1;
        if (!T_CHECK(v >= least && v < 1e19)) { printf("# %.*s\n", (int)(end - line), line); }
    }
    memcpy(last, text, len + 1);
}

static void watch(int64_t seconds)
{
    void *const all[] = { limiter, locks, store, server, side, pool, port, shared_port,
                          far[0], far[1] };
    static char last[sizeof all / sizeof *all][TEXT];
    const int64_t begin = now_ms(), window_ms = seconds * 1000 / WINDOWS;
    for (int w = 0; w < WINDOWS; w++) {
        do {
            for (int i = 0; i < 2; i++) { (void)ok(cellar_tick(all[i], 0, NULL), "PENDING"); }
            sample(peak[w]);
            pause_ms(window_ms < 1000 ? window_ms : 1000);
        } while (now_ms() < begin + (w + 1) * window_ms);
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) { read_metrics(all[i], last[i]); }
        if (w % 12 == 11) { table(w + 1, (double)seconds); }
    }
}

/* With no call on its way, what the objects counted is what was done. Refreshes are calls, too. */
static void balance(void)
{
    cellar_stats s = cellar_stats_default();
    cellar_pool_stats p = cellar_pool_stats_default();
    cellar_limiter_stats l = cellar_limiter_stats_default();
    cellar_locks_stats k = cellar_locks_stats_default();
    cellar_breaker_info b = cellar_breaker_info_default();
    cellar_bloom_info f = cellar_bloom_info_default();
    cellar_resp_stats r = cellar_resp_stats_default();
    for (char key[] = "0"; key[0] <= '9'; key[0]++) {
        MUST(cellar_refresh_remove(pool, rows, key, 1));
    }
    MUST(cellar_pool_drain(pool, CELLAR_DRAIN_ALL, CLOSE_MS, NULL));
    MUST(cellar_remote_fence(far[0], CLOSE_MS));
    MUST(cellar_pool_stats_get(pool, NULL, &p));
    T_EQ_U64(p.submitted, tasks + messages);
    T_EQ_U64(p.submitted, p.ok + p.failed);
    T_EQ_U64(p.live + p.journal_errors + p.rejected_full + p.result_lost + p.stuck, 0);
    T_CHECK(mailed == messages && beats > 0);
    MUST(cellar_stats_get(things, CELLAR_SCOPE_NAMESPACE, &s));
    T_CHECK(s.gets == acquires && s.gets == s.hits_l1 + s.misses && s.sets == made);
    MUST(cellar_stats_get(store, CELLAR_SCOPE_STORE, &s));
    T_EQ_U64(s.gets, s.hits_l1 + s.hits_l2 + s.stale_hits + s.negative_hits + s.misses);
    T_CHECK(s.used_bytes <= s.budget_bytes && s.objects_held + s.release_errors == 0);
    MUST(cellar_limiter_stats_get(limiter, &l));
    T_EQ_U64(l.allowed + l.denied, checks);
    MUST(cellar_locks_stats_get(locks, &k));
    T_EQ_U64(k.held + k.waiting + k.lost + k.expired + k.not_owner, 0);
    MUST(cellar_breaker_info_get(breaker, &b));
    T_CHECK(b.calls == passes[1] && b.rejects == passes[0]);
    MUST(cellar_bloom_info_get(pages, &f));
    T_EQ_I64(f.state, CELLAR_BLOOM_AUTHORITATIVE);
    MUST(cellar_resp_stats_get(port, &r));
    T_EQ_U64(r.commands, commands);
    T_EQ_U64(errors, 0);
}

T_CASE(all_objects_run_together_and_no_figure_grows)
{
    const int64_t seconds = (int64_t)t_env_u64("SOAK_SECONDS", t_reduced() ? 2 : 6);
    int64_t before[FIGURES] = { 0 }, after[FIGURES] = { 0 };
    pthread_t thread[CALLERS + 1];
    for (int i = 0; i < 2; i++) { t_folder(folder[i]); }
    sample(before);
    all_open();
    for (uintptr_t i = 0; i <= CALLERS; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, i < CALLERS ? caller : client, (void *)i) == 0);
    }
    watch(seconds);
    atomic_store(&ended, true);
    for (int i = 0; i <= CALLERS; i++) { pthread_join(thread[i], NULL); }
    balance();
    for (int i = 0; i < FIGURES && seconds >= 3600; i++) {
        T_CHECK(slope(i, WINDOWS, (double)seconds) < .1);
    }
    all_close();
    sample(after);
    T_EQ_I64(after[DESCRIPTORS], before[DESCRIPTORS]);
    if (!T_TSAN) { T_EQ_I64(after[THREADS], before[THREADS]); } /* it begins one of its own */
    for (int i = 0; i < 2; i++) { t_wipe(folder[i]); }
}

T_MAIN("all_soak")
