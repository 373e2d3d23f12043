/* SPDX-License-Identifier: MIT
 *
 * Aim:    a process dies at any moment, also during an open, a pass, or a change of the size. Each
 *         invalidation by change, clear, tag or pattern stays in force. Served bytes are right.
 *         Each acknowledged durable put that cannot have been dropped for room is found.
 * Method: children work on a tiny store in a real directory. It is so small that passes, seals and
 *         syncs are always active. They die by SIGKILL at a step of the protocols (every
 *         BASE_POINT, from the open on): at the n-th step, or at the n-th visit of one. Others die
 *         at a random time. Shared memory has what was acknowledged, written after each call.
 *         KILL_CYCLES=n on a tmpfs, KILL_DISK=n in TMPDIR.
 * ALSO    The sources of the tier are part of this program, so that their points can kill. A death
 *         between two calls of the disk: test_l2_crash. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/support/t.h"

static void kill_point(const char *name);
#undef BASE_POINT
#define BASE_POINT(name) kill_point(name)
#include "l2/admission.c"
#include "l2/codec.c"
#include "l2/health.c"
#include "l2/invalidations.c"
#include "l2/namespaces.c"
#include "l2/part.c"
#include "l2/plan.c"
#include "l2/record.c"
#include "l2/value.c"
#include "l2/control.c"
#include "l2/geometry.c"
#include "l2/image.c"
#include "l2/index.c"
#include "l2/io.c"
#include "l2/live.c"
#include "l2/log.c"
#include "l2/open.c"
#include "l2/pass.c"
#include "l2/progress.c"
#include "l2/read.c"
#include "l2/recover.c"
#include "l2/resize.c"
#include "l2/reopen.c"
#include "l2/resync.c"
#include "l2/rows.c"
#include "l2/segment.c"
#include "l2/stall.c"
#include "l2/stat.c"
#include "l2/super.c"
#include "l2/tombs.c"
#include "l2/visit.c"
#include "l2/worker.c"
#include "l2/write.c"
#include "tests/support/folder.h"

#include "base/random.h"

#define KEYS 40u
#define NAMES 64u
#define TAGS 4u
#define SEGMENT 65536u
#define MOST_TO_A_POINT 400000u /* calls of a child that dies at one point */
#define SURE_BYTES 65536u /* bytes logged after a put by which it cannot have been dropped */

typedef struct oracle { /* shared with the child; written after a call has returned */
    _Atomic uint32_t now[KEYS];    /* current version; 0: none */
    _Atomic uint32_t next[KEYS];   /* version that the current call makes */
    _Atomic uint32_t stored[KEYS]; /* version of the last acknowledged durable put without a later
                                    * change; or 0 */
    _Atomic uint64_t stored_at[KEYS]; /* `logged` at that put */
    _Atomic uint64_t born[KEYS];   /* tag epoch of the current version */
    _Atomic uint64_t epoch;
    _Atomic uint32_t generation, generation_next;
    _Atomic uint64_t logged;       /* upper bound of the bytes of all records */
    _Atomic uint64_t emptied;      /* 1: all records were dropped, or may be at the next open */
    _Atomic uint64_t calls;
    _Atomic uint64_t parted; /* 1: a part of the long value is in the log */
    _Atomic(const char *) name[NAMES]; /* points met so far; addresses are equal in all children */
    _Atomic uint64_t met[NAMES];
    _Atomic uint64_t killed_at[NAMES]; /* cycles that ended there */
} oracle;

static oracle *o;
static base_account account;
static base_log lines;
static base_clock store_clock;
static l2_config cfg;
static l2 *d;
static int64_t ms; /* of the store's clock; read by its thread */
static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static base_rng rng;
static uint64_t calls_most; /* of a child; few where each sync waits for a disk */
static bool moves; /* live records move: none is dropped for room */
static bool sizes; /* each cycle opens the store with another size */
static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

/* ---- the point of death ---- */

static _Atomic uint64_t steps_left; /* 0: never */
static const char *fatal_point;     /* NULL: any */
static const char *only_point;      /* in each child; NULL: each chooses */
static uint64_t only_visit;

static void kill_point(const char *name)
{
    if (strcmp(name, "l2.bell_made") == 0) { atomic_store(&o->emptied, 1); }
    if (strcmp(name, "l2.part") == 0) { atomic_store(&o->parted, 1); }
    if (atomic_load(&steps_left) == 0) { return; }
    uint32_t i = 0;
    for (; i < NAMES - 1; i++) {
        const char *none = NULL;
        const char *is = atomic_load(&o->name[i]);
        if (is == NULL && atomic_compare_exchange_strong(&o->name[i], &none, name)) { break; }
        if (strcmp(atomic_load(&o->name[i]), name) == 0) { break; }
    }
    atomic_fetch_add(&o->met[i], 1);
    if (fatal_point != NULL && strcmp(fatal_point, name) != 0) { return; }
    if (atomic_fetch_sub(&steps_left, 1) == 1) {
        atomic_fetch_add(&o->killed_at[i], 1);
        (void)kill(getpid(), SIGKILL);
        for (;;) { pause(); }
    }
}

/* ---- the store ---- */

static int64_t now_ms(void *ctx) { (void)ctx; return __atomic_load_n(&ms, __ATOMIC_RELAXED); }

static int64_t wall_ms(void *ctx) { (void)ctx; return INT64_C(1700000000000); }

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx, (void)fp, (void)hard, (void)soft;
}

#define IMAGE_WORDS 4000u /* more than one piece */

static void give_image(void *ctx, l2_images *to)
{
    const uint64_t number = atomic_load(&o->calls), note[2] = { number, 1 };
    bool ok = true;
    (void)ctx;
    if (!l2_image_begin(to, "v", 1, IMAGE_WORDS * 8, note)) { return; }
    for (uint32_t i = 0; i < IMAGE_WORDS && ok; i++) { ok = l2_image_give(to, &number, 8); }
    (void)l2_image_end(to, ok);
}

/* Check that an image has the bytes of one save. */
static void look_at_image(void)
{
    l2_image *im = l2_image_open(d, "v", 1);
    bool ok = im != NULL;
    if (im == NULL) { return; }
    const uint64_t number = l2_image_note(im)[0];
    for (uint32_t i = 0; i < IMAGE_WORDS && ok; i++) {
        uint64_t word = 0;
        ok = l2_image_take(im, &word, 8);
        T_CHECK(!ok || word == number);
    }
    l2_image_close(im, true);
}

/* Configure the store of a cycle. */
static void store_is(uint64_t cycle)
{
    const uint32_t segments = sizes ? 12 + (uint32_t)(cycle / 3 % 3) * 6 : 12;
    memset(&account, 0, sizeof account);
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    store_clock = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &store_clock, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &store_clock, .path = store,
                       .bytes = (uint64_t)segments * SEGMENT, .memory_bytes = 1 << 20,
                       .seg_bytes = SEGMENT, .seg_count = segments, .secret = secret,
                       .no_thread = true, .wall_ms = wall_ms, .move_pct = moves ? 50 : 0,
                       .level = (l2_level)(cycle % 3), .sync_ms = 200, .images = give_image };
    ms = 1000000;
}

static bool store_opened(void)
{
    int e = 0;
    const cellar_err err = l2_open(&cfg, &d, &e);
    if (err != CELLAR_OK) { printf("# open: %d, errno %d\n", (int)err, e); }
    return err == CELLAR_OK;
}

static void store_opens(void) { T_REQUIRE(store_opened()); }

static l2_key key_of(const void *bytes, size_t len, uint32_t generation)
{
    return (l2_key){ bytes, (uint32_t)len, generation,
                     base_hash(l2_hash_key(d), generation, bytes, len) };
}

/* Get as l2_get, but wait for a disk that does not answer. */
static cellar_err get(const l2_key *k, void *buf, size_t cap, size_t *len, l2_meta *m)
{
    cellar_err err = l2_get(d, k, buf, cap, len, m);
    for (int i = 0; err == CELLAR_E_TIMEOUT && i < 10000; i++) {
        usleep(1000);
        err = l2_get(d, k, buf, cap, len, m);
    }
    return err;
}

/* ---- the work of a child ---- */

static uint32_t placed[KEYS]; /* version of the last put of the child, durable or not; 0: none */
static uint64_t placed_at[KEYS];

static size_t length_of(uint32_t key, uint32_t version)
{
    return 8 + (key * 131 + version * 37) % 600;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void works_put(uint32_t key, bool durable)
{
    unsigned char buf[1024];
    const uint32_t version = atomic_load(&o->now[key]);
    if (version == 0) { return; }
    const size_t n = length_of(key, version);
    fill(buf, n, key, version);
    const uint64_t tag = 1 + key % TAGS;
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .tag_count = 1,
                        .tag_born = atomic_load(&o->born[key]), .tag_fps = &tag,
                        .durable = durable };
    const l2_key id = key_of(&key, sizeof key, atomic_load(&o->generation));
    atomic_fetch_add(&o->logged, n + 96);
    if (l2_put(d, &id, buf, n, &m, NULL) != CELLAR_OK) { return; }
    placed[key] = version;
    placed_at[key] = atomic_load(&o->logged);
    if (!durable) { return; }
    atomic_store(&o->stored_at[key], placed_at[key]);
    atomic_store(&o->stored[key], version);
}

/* No put of the key counts any more; `version` is the one that the current call makes. */
static void key_changes(uint32_t key, uint32_t version)
{
    placed[key] = 0;
    atomic_store(&o->stored[key], 0);
    atomic_store(&o->next[key], version);
}

static void works_change(uint32_t key, uint32_t version)
{
    const l2_key id = key_of(&key, sizeof key, atomic_load(&o->generation));
    key_changes(key, version);
    atomic_fetch_add(&o->logged, 64);
    l2_invalidate(d, &id);
    if (cfg.level == L2_ALWAYS) { (void)l2_commit(d); }
    atomic_store(&o->born[key], atomic_load(&o->epoch));
    atomic_store(&o->now[key], version);
}

/* Invalidate the keys of one tag, by the tag or by a pattern of their first byte. */
static void works_end(uint32_t tag, bool by_tag)
{
    char pattern[3 * KEYS];
    size_t n = 0;
    pattern[n++] = '[';
    for (uint32_t k = tag; k < KEYS; k += TAGS) {
        key_changes(k, 0);
        pattern[n++] = '\\';
        pattern[n++] = (char)k;
    }
    memcpy(pattern + n, "]*", 2);
    atomic_fetch_add(&o->logged, 192);
    if (by_tag) {
        l2_tag_invalidate(d, 1 + tag, atomic_fetch_add(&o->epoch, 1) + 1, false);
    } else {
        uint64_t walk;
        const uint32_t generation = atomic_load(&o->generation);
        if (l2_glob_begin(d, generation, pattern, n + 2, &walk) != CELLAR_OK) { _exit(6); }
        l2_glob_end(d, walk);
    }
    for (uint32_t k = tag; k < KEYS; k += TAGS) { atomic_store(&o->now[k], 0); }
}

static void works_clear(void)
{
    const l2_namespace v = { 1, l2_next_generation(d), 1 };
    for (uint32_t k = 0; k < KEYS; k++) { key_changes(k, 0); }
    atomic_store(&o->generation_next, (uint32_t)v.generation);
    atomic_fetch_add(&o->logged, 64);
    if (l2_namespace_set(d, &v, "v", 1, NULL) != CELLAR_OK) { _exit(3); }
    atomic_store(&o->generation, (uint32_t)v.generation);
    for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->now[k], 0); }
}

/* Write the log: no kill takes a put from before back. */
static void works_sync(void)
{
    if (l2_sync(d) != CELLAR_OK) { _exit(4); }
    for (uint32_t k = 0; k < KEYS; k++) {
        if (placed[k] == 0) { continue; }
        atomic_store(&o->stored_at[k], placed_at[k]);
        atomic_store(&o->stored[k], placed[k]);
    }
}

/* Return the version of the key in the store; 0: a miss; UINT32_MAX: other bytes. */
static uint32_t look(uint32_t key, uint32_t generation)
{
    unsigned char buf[1024], want[1024];
    size_t len = 0;
    l2_meta m;
    const l2_key id = key_of(&key, sizeof key, generation);
    const cellar_err err = get(&id, buf, sizeof buf, &len, &m);
    if (err == CELLAR_MISS) { return 0; }
    fill(want, sizeof want, key, m.user_flags);
    const bool right = err == CELLAR_OK && len == length_of(key, m.user_flags) &&
                       memcmp(buf, want, len) == 0;
    return right ? m.user_flags : UINT32_MAX;
}

static void work_once(base_rng *r, uint32_t *version)
{
    /* Most keys stay unchanged for long if live records move. */
    const bool few = moves && base_rng_below(r, 40) != 0;
    const uint32_t key = (uint32_t)base_rng_below(r, few ? KEYS / 4 : KEYS);
    uint64_t what = base_rng_below(r, 128);
    if (what >= 100 && what < 102 && moves && base_rng_below(r, 16) != 0) { what = 127; }
    if (what < 40) {
        works_change(key, base_rng_below(r, 3) == 0 ? 0 : ++*version);
    } else if (what < 84) {
        works_put(key, what % 3 != 0);
    } else if (what < 100) {
        const uint32_t got = look(key, atomic_load(&o->generation));
        if (got != 0 && got != atomic_load(&o->now[key])) { _exit(2); }
    } else if (what < 102 && only_point == NULL && base_rng_below(r, 8) == 0) {
        works_clear();
    } else if (what < 102 && base_rng_below(r, 3) == 0) {
        works_end(key % TAGS, what == 100);
    } else if (what < 103) {
        works_sync();
        if (base_rng_below(r, 8) == 0) { l2_images_save(d, false); }
    } else {
        (void)__atomic_fetch_add(&ms, 40, __ATOMIC_RELAXED);
        (void)l2_tick(d, what % 2 == 0 ? 0 : 1000);
    }
    atomic_fetch_add(&o->calls, 1);
}

/* Work until death, at the latest after `most` calls. */
static void child_works(uint64_t seed, uint64_t most)
{
    base_rng r;
    base_rng_seed(&r, seed);
    memset(placed, 0, sizeof placed);
    if (!store_opened()) { _exit(1); }
    uint32_t version = 1 + (uint32_t)base_rng_below(&r, 1u << 30);
    uint64_t floor;
    atomic_store(&o->epoch, l2_tags_known(d, &floor, no_tag, NULL));
    for (uint64_t n = 0; n < most; n++) { work_once(&r, &version); }
    (void)kill(getpid(), SIGKILL);
}

/* ---- a value in parts ---- */

#define LONG_MOST ((size_t)160000)

static unsigned char long_value[LONG_MOST], long_got[LONG_MOST];
static size_t long_bytes = 90000;

static void long_fill(uint32_t version)
{
    base_rng r;
    base_rng_seed(&r, version);
    for (size_t i = 0; i < long_bytes; i++) { long_value[i] = (unsigned char)base_rng_next(&r); }
}

static cellar_err long_put(uint32_t version)
{
    l2_parts parts = { 0, 0 };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .change = true,
                        .durable = true, .parts = &parts };
    const l2_key id = key_of("long", 4, 5);
    cellar_err err = CELLAR_DROPPED;
    long_fill(version);
    for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
        err = l2_put(d, &id, long_value, long_bytes, &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(d, 1000); }
    }
    return err;
}

/* Return the version that is served; 0: a miss; UINT32_MAX: other bytes. */
static uint32_t long_look(void)
{
    size_t len = 0;
    l2_meta m;
    const l2_key id = key_of("long", 4, 5);
    const cellar_err err = get(&id, long_got, long_bytes, &len, &m);
    if (err == CELLAR_MISS) { return 0; }
    long_fill(m.user_flags);
    const bool right = err == CELLAR_OK && len == long_bytes &&
                       memcmp(long_got, long_value, long_bytes) == 0;
    return right ? m.user_flags : UINT32_MAX;
}

/* Check the long value that no child changes. Put it again if the store was emptied. */
static void long_is_kept(void)
{
    const uint32_t got = long_look();
    T_CHECK(got == 1 || (got == 0 && atomic_load(&o->emptied) != 0));
    if (got != 1) { T_EQ_I64(long_put(1), CELLAR_OK); }
}

/* ---- one cycle ---- */

static void child_starts(uint64_t cycle)
{
    cfg.no_thread = cycle % 4 != 0;
    fatal_point = only_point;
    if (only_point != NULL) {
        atomic_store(&steps_left, only_visit);
        child_works(t_.seed + cycle, MOST_TO_A_POINT);
    }
    if (cycle % 2 == 0) { /* at the n-th step of all */
        atomic_store(&steps_left, 1 + base_rng_below(&rng, cycle % 8 == 0 ? 60 : calls_most));
    } else if (cycle % 8 != 7) { /* at one point */
        uint32_t known = 0;
        while (known < NAMES && atomic_load(&o->name[known]) != NULL) { known++; }
        if (known > 0) { fatal_point = atomic_load(&o->name[base_rng_below(&rng, known)]); }
        atomic_store(&steps_left, 1 + base_rng_below(&rng, 30));
    }
    child_works(t_.seed + cycle, UINT64_MAX);
}

static void child_dies(uint64_t cycle)
{
    const uint64_t enough = only_point != NULL ? UINT64_MAX : base_rng_below(&rng, calls_most);
    int status = 0;
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_starts(cycle); }
    T_REQUIRE(pid > 0);
    while (atomic_load(&o->calls) < enough && waitpid(pid, &status, WNOHANG) == 0) { usleep(50); }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    if (!T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
        printf("# the child exited with %d\n", WEXITSTATUS(status));
    }
}

static uint64_t cycles, hits, sure;

static void look_at_all(uint32_t generation)
{
    const bool same =
        generation == atomic_load(&o->generation) && generation == atomic_load(&o->generation_next);
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint32_t now = atomic_load(&o->now[key]), next = atomic_load(&o->next[key]);
        const uint32_t got = look(key, generation), stored = atomic_load(&o->stored[key]);
        const uint64_t since = atomic_load(&o->logged) - atomic_load(&o->stored_at[key]);
        T_CHECK(got == 0 || got == now || got == next);
        hits += got != 0;
        if (stored == 0 || !same || (since > SURE_BYTES && !moves) ||
            atomic_load(&o->emptied) != 0) {
            continue;
        }
        sure++;
        T_EQ_U64(got, stored);
    }
}

static uint32_t generation_found(void)
{
    l2_namespace v;
    T_REQUIRE(l2_namespace_find(d, "v", 1, &v));
    /* An emptied store may have returned to a generation without any live records. */
    if (v.generation != atomic_load(&o->generation) && atomic_load(&o->emptied) == 0) {
        T_EQ_U64(v.generation, atomic_load(&o->generation_next));
    }
    return (uint32_t)v.generation;
}

/* Fix the result of the interrupted call. drop: and delete all keys. */
static void settle(uint32_t generation, bool drop)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint32_t got = look(key, generation);
        const l2_key id = key_of(&key, sizeof key, generation);
        atomic_store(&o->stored[key], 0);
        if (got == 0 || drop) {
            l2_invalidate(d, &id);
            T_EQ_U64(look(key, generation), 0);
        }
        atomic_store(&o->now[key], drop ? 0 : got);
        atomic_store(&o->next[key], drop ? 0 : got);
    }
    atomic_store(&o->generation, generation);
    atomic_store(&o->generation_next, generation);
}

static void store_closes(uint64_t cycle)
{
    if (cycle % 3 == 0) {
        l2_close(d);
    } else {
        l2_discard(d);
    }
    d = NULL;
    T_EQ_U64(base_load_rlx(&account.used), 0);
}

static void cycle_once(uint64_t cycle)
{
    atomic_store(&o->calls, 0);
    store_is(cycle);
    child_dies(cycle);
    store_is(cycle);
    store_opens();
    const uint32_t generation = generation_found();
    look_at_all(generation);
    look_at_image();
    if (only_point != NULL) { long_is_kept(); }
    while (only_point != NULL && d->goal.on) { (void)l2_tick(d, 1000); } /* to its size */
    atomic_store(&o->emptied, 0); /* the next work may drop all records, too, for the next open */
    settle(generation, cycle % 5 == 0);
    store_closes(cycle);
    if (t_failed()) {
        printf("# cycle %" PRIu64 ", level %d, point %s\n", cycle, (int)cfg.level,
               fatal_point != NULL ? fatal_point : "any");
    }
}

static void begin_in(const char *where)
{
    t_folder_in(where, folder);
    snprintf(store, sizeof store, "%s/store", folder);
    o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(o != MAP_FAILED);
    base_rng_seed(&rng, t_.seed);
    cycles = hits = sure = 0;
    store_is(1);
    store_opens();
    const l2_namespace v = { 1, 5, 1 };
    T_EQ_I64(l2_namespace_set(d, &v, "v", 1, NULL), CELLAR_OK);
    atomic_store(&o->generation, 5);
    atomic_store(&o->generation_next, 5);
    l2_close(d);
    d = NULL;
}

static void end(void)
{
    T_EQ_I64(munmap(o, sizeof *o), 0);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
    moves = sizes = false;
    only_point = fatal_point = NULL;
}

/* Return the cycles that ended at a point. */
static uint64_t points_print(void)
{
    uint64_t killed = 0;
    for (uint32_t i = 0; i < NAMES && atomic_load(&o->name[i]) != NULL; i++) {
        killed += atomic_load(&o->killed_at[i]);
        printf("# %-20s met %" PRIu64 ", killed there %" PRIu64 "\n", atomic_load(&o->name[i]),
               atomic_load(&o->met[i]), atomic_load(&o->killed_at[i]));
        if (atomic_load(&o->met[i]) >= 2000 && cycles >= 2000) {
            T_CHECK(atomic_load(&o->killed_at[i]) > 0);
        }
    }
    return killed;
}

static void kill_in(const char *where, uint64_t most, uint64_t calls, bool with_moves)
{
    calls_most = calls;
    moves = sizes = with_moves;
    begin_in(where);
    for (; cycles < most && !t_failed(); cycles++) { cycle_once(cycles); }
    printf("# %s: %" PRIu64 " kills, %" PRIu64 " hits after them, %" PRIu64 " required\n",
           where, cycles, hits, sure);
    (void)points_print();
    T_CHECK(cycles < 100 || (hits > cycles && sure > 0));
    end();
}

T_CASE(killed_at_every_step_on_a_tmpfs_keeps_acknowledged_changes)
{
    if (access("/dev/shm", W_OK) != 0) {
        T_SKIP("no /dev/shm to write to");
        return;
    }
    const uint64_t most = t_env_u64("KILL_CYCLES", t_share(200));
    kill_in("/dev/shm", most / 2, 4000, false);
    kill_in("/dev/shm", most - most / 2, 4000, true);
}

T_CASE(killed_at_every_step_on_a_disk_keeps_acknowledged_changes)
{
    const char *tmp = getenv("TMPDIR");
    const uint64_t most = t_env_u64("KILL_DISK", 8);
    kill_in(tmp != NULL ? tmp : "/tmp", most / 2, 300, false);
    kill_in(tmp != NULL ? tmp : "/tmp", most - most / 2, 300, true);
}

static const char *quick_disk(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

/* ---- a death between any two steps while a value in parts replaces an older one ---- */

static void child_puts_long(uint32_t version, uint64_t steps)
{
    atomic_store(&steps_left, steps);
    if (!store_opened()) { _exit(1); }
    if (long_put(version) != CELLAR_OK) { _exit(2); }
    atomic_store(&o->now[0], version);
    for (int i = 0; i < 3; i++) { (void)l2_tick(d, 1000); }
    atomic_store(&o->calls, 1);
    (void)kill(getpid(), SIGKILL);
    for (;;) { pause(); }
}

/* Return false once the child came to its end. */
static bool long_life(uint64_t cycle, uint32_t version, uint64_t steps)
{
    int status = 0;
    const uint32_t before = atomic_load(&o->now[0]);
    atomic_store(&o->parted, 0);
    atomic_store(&o->calls, 0);
    store_is(cycle);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_puts_long(version, steps); }
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    store_is(cycle);
    store_opens();
    const uint32_t got = long_look(), acked = atomic_load(&o->now[0]);
    if (atomic_load(&o->parted) != 0) {
        T_CHECK(got == version || (got == 0 && acked != version)); /* never the older one */
    } else {
        T_CHECK(got == before || got == 0); /* the tombstone may be in the log */
    }
    atomic_store(&o->now[0], got);
    store_closes(cycle);
    if (t_failed()) {
        printf("# step %" PRIu64 ", level %d, got %u, before %u, version %u\n", steps,
               (int)cfg.level, got, before, version);
    }
    hits += got == version;
    sure += atomic_load(&o->parted) != 0 && got == 0;
    return atomic_load(&o->calls) == 0;
}

T_ALONE(killed_while_parts_are_put_leaves_no_old_or_torn_value)
{
    uint32_t version = 1;
    moves = true;
    begin_in(quick_disk());
    for (uint64_t level = 0; level < 3; level++) {
        const uint64_t stride = t_reduced() ? 3 : 1;
        uint64_t steps = 1 + base_rng_below(&rng, stride);
        while (!t_failed() && long_life(3 * (version % 50) + level, version, steps)) {
            version++;
            steps += stride;
            if (atomic_load(&o->now[0]) == 0) { /* the next life replaces an older value */
                (void)long_life(3 * (version % 50) + level, version, UINT64_MAX);
                version++;
            }
        }
        version++;
        T_CHECK(steps > 25);
    }
    printf("# %" PRIu32 " lives, %" PRIu64 " with the new value, %" PRIu64 " with none\n", version,
           hits, sure);
    T_CHECK(hits > 10 && sure > 10);
    end();
}

/* ---- a death at each point of a pass, and of a change of the size ---- */

/* A value in parts is put once. It stays whole while its parts, and other records, move.
 * killed_while_parts_are_put_leaves_no_old_or_torn_value dies at the points of a put. */
T_CASE(killed_at_each_point_of_a_move_keeps_live_records)
{
    static const char *const point[] = { "l2.moved", "l2.passed", "l2.floored", "l2.sealed",
                                         "l2.claimed", "l2.written", "l2.new_made", "l2.turned",
                                         "l2.turn_done", "l2.turn_named" };
    static const uint64_t visit[] = { 1, 2, 5, 40 };
    const uint64_t points = sizeof point / sizeof point[0], step = t_reduced() ? 5 : 1;
    uint64_t runs = 0;
    moves = true;
    long_bytes = LONG_MOST;
    begin_in(quick_disk());
    T_REQUIRE(atomic_load(&steps_left) == 0);
    store_is(1);
    store_opens();
    T_EQ_I64(long_put(1), CELLAR_OK);
    store_closes(1);
    for (uint64_t run = base_rng_below(&rng, step); run < 3 * points && !t_failed(); run += step) {
        only_point = point[run / 3];
        sizes = strncmp(only_point, "l2.turn", 7) == 0 || strcmp(only_point, "l2.new_made") == 0;
        for (size_t i = 0; i < sizeof visit / sizeof visit[0]; i++) {
            only_visit = sizes ? 1 : visit[i]; /* a child changes the size once */
            cycle_once(3 * ++runs + run % 3); /* at each level; a multiple of 3: another size */
        }
    }
    T_EQ_U64(points_print(), runs);
    long_bytes = 90000;
    end();
}

T_MAIN("l2_kill")
