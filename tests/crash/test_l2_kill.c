/* SPDX-License-Identifier: MIT
 *
 * Aim:    P8: a process dies at any moment, also during recovery. Each invalidation by change,
 *         clear, tag or pattern stays in force. Served bytes are right. Each acknowledged put that
 *         cannot have been reclaimed is found.
 * Method: children work on a tiny store in a real directory. It is so small that reclaim, seals and
 *         syncs are always active. They die by SIGKILL at a step of l2's protocols (every
 *         BASE_POINT, from the open on): at the n-th step, or at the n-th visit of one. Others die
 *         at a random time. Shared memory has what was acknowledged, written after each call.
 *         Others are traced: after each store to the stage a copy of the files is opened. KILL_CYCLES=n on a tmpfs, KILL_DISK=n in TMPDIR, KILL_TRACED=n.
 * ALSO    The sources of l2 are part of this program, so that their points can kill. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/support/t.h"

static void kill_point(const char *name);
#undef BASE_POINT
#define BASE_POINT(name) kill_point(name)
#include "l2/admission.c"
#include "l2/arm.c"
#include "l2/barrier.c"
#include "l2/codec.c"
#include "l2/control.c"
#include "l2/files.c"
#include "l2/footer.c"
#include "l2/format.c"
#include "l2/geometry.c"
#include "l2/group_commit.c"
#include "l2/health.c"
#include "l2/heartbeat.c"
#include "l2/index.c"
#include "l2/invalidations.c"
#include "l2/io.c"
#include "l2/live.c"
#include "l2/log.c"
#include "l2/meta.c"
#include "l2/move.c"
#include "l2/namespaces.c"
#include "l2/open.c"
#include "l2/owner.c"
#include "l2/part.c"
#include "l2/plan.c"
#include "l2/progress.c"
#include "l2/read.c"
#include "l2/reclaim.c"
#include "l2/record.c"
#include "l2/recovery.c"
#include "l2/recovery_chain.c"
#include "l2/recovery_place.c"
#include "l2/recovery_slot.c"
#include "l2/resize.c"
#include "l2/seal.c"
#include "l2/slot.c"
#include "l2/stall.c"
#include "l2/stat.c"
#include "l2/superblock.c"
#include "l2/sync.c"
#include "l2/tombstone_filter.c"
#include "l2/value.c"
#include "l2/worker.c"
#include "l2/write.c"
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#define KEYS 40u
#define NAMES 64u
#define TAGS 4u
#define MOST_TO_A_POINT 400000u /* calls of a child that dies at one point */
#define SURE_BYTES 8192u /* bytes logged after a put by which it cannot have been reclaimed */

typedef struct oracle { /* shared with the child; written after a call has returned */
    _Atomic uint32_t now[KEYS];    /* current version; 0: none */
    _Atomic uint32_t next[KEYS];   /* version that the current call makes */
    _Atomic uint32_t stored[KEYS]; /* version of the last acknowledged put without a later change;
                                    * or 0 */
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
static l2_kit kit;
static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static base_rng rng;
static uint64_t calls_most; /* of a child; few where each sync waits for a disk */
static const base_vfs *disk; /* NULL: the system's */
static uint32_t segments = 6;
static uint32_t seg_bytes = 16384;
static bool moves; /* live records move: none is dropped for room */

/* ---- the point of death ---- */

static _Atomic uint64_t steps_left; /* 0: never */
static const char *fatal_point;     /* NULL: any */
static const char *only_point;      /* in each child, once a record moved; NULL: each chooses */
static _Atomic bool record_moved;
static uint64_t only_visit;

static void kill_point(const char *name)
{
    if (strcmp(name, "l2.overflow") == 0 || strcmp(name, "l2.bell_made") == 0) {
        atomic_store(&o->emptied, 1);
    }
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
    if (strcmp(name, "l2.moved") == 0) { atomic_store(&record_moved, true); }
    if (only_point != NULL && !atomic_load(&record_moved)) { return; }
    if (fatal_point != NULL && strcmp(fatal_point, name) != 0) { return; }
    if (atomic_fetch_sub(&steps_left, 1) == 1) {
        atomic_fetch_add(&o->killed_at[i], 1);
        (void)kill(getpid(), SIGKILL);
        for (;;) { pause(); }
    }
}

/* ---- the work of a child ---- */

static size_t length_of(uint32_t key, uint32_t version)
{
    return 8 + (key * 131 + version * 37) % 600;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void works_put(uint32_t key)
{
    unsigned char buf[1024];
    const uint32_t version = atomic_load(&o->now[key]);
    if (version == 0) { return; }
    const size_t n = length_of(key, version);
    fill(buf, n, key, version);
    const uint64_t tag = 1 + key % TAGS;
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .tag_count = 1,
                        .tag_born = atomic_load(&o->born[key]), .tag_fps = &tag };
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, atomic_load(&o->generation));
    atomic_fetch_add(&o->logged, n + 96);
    if (l2_put(kit.d, &id, buf, n, &m, NULL) != CELLAR_OK) { return; }
    atomic_store(&o->stored_at[key], atomic_load(&o->logged));
    atomic_store(&o->stored[key], version);
}

static void works_change(uint32_t key, uint32_t version)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, atomic_load(&o->generation));
    atomic_store(&o->stored[key], 0);
    atomic_store(&o->next[key], version);
    atomic_fetch_add(&o->logged, 64);
    l2_invalidate(kit.d, &id);
    if (kit.cfg.level == L2_ALWAYS && l2_commit(kit.d) != CELLAR_OK) { _exit(5); }
    atomic_store(&o->born[key], atomic_load(&o->epoch));
    atomic_store(&o->now[key], version);
}

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx;
    (void)fp;
    (void)hard;
    (void)soft;
}

/* Invalidate the keys of one tag, by the tag or by a pattern of their first byte. */
static void works_end(uint32_t tag, bool by_tag)
{
    char pattern[3 * KEYS];
    size_t n = 0;
    pattern[n++] = '[';
    for (uint32_t k = tag; k < KEYS; k += TAGS) {
        atomic_store(&o->stored[k], 0);
        atomic_store(&o->next[k], 0);
        pattern[n++] = '\\';
        pattern[n++] = (char)k;
    }
    memcpy(pattern + n, "]*", 2);
    atomic_fetch_add(&o->logged, 192);
    if (by_tag) {
        l2_tag_invalidate(kit.d, 1 + tag, atomic_fetch_add(&o->epoch, 1) + 1, false);
    } else {
        uint64_t walk;
        const uint32_t generation = atomic_load(&o->generation);
        if (l2_glob_begin(kit.d, generation, pattern, n + 2, &walk) != CELLAR_OK) { _exit(6); }
        l2_glob_end(kit.d, walk);
    }
    if (kit.cfg.level == L2_ALWAYS && l2_commit(kit.d) != CELLAR_OK) { _exit(5); }
    for (uint32_t k = tag; k < KEYS; k += TAGS) { atomic_store(&o->now[k], 0); }
}

static void works_clear(void)
{
    const l2_namespace v = { 1, l2_next_generation(kit.d), 1 };
    for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->stored[k], 0); }
    for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->next[k], 0); }
    atomic_store(&o->generation_next, (uint32_t)v.generation);
    atomic_fetch_add(&o->logged, 64);
    if (l2_namespace_set(kit.d, &v, NULL, 0) != CELLAR_OK) { _exit(3); }
    atomic_store(&o->generation, (uint32_t)v.generation);
    for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->now[k], 0); }
}

/* Return the version of the key in the store; 0: a miss; UINT32_MAX: other bytes. */
static uint32_t look(uint32_t key, uint32_t generation)
{
    unsigned char buf[1024], want[1024];
    size_t len = 0;
    l2_meta m;
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    const cellar_err err = l2_kit_get(kit.d, &id, buf, sizeof buf, &len, &m);
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
        works_put(key);
    } else if (what < 100) {
        const uint32_t got = look(key, atomic_load(&o->generation));
        if (got != 0 && got != atomic_load(&o->now[key])) { _exit(2); }
    } else if (what < 102 && only_point == NULL && base_rng_below(r, 8) == 0) {
        works_clear();
    } else if (what < 102 && base_rng_below(r, 3) == 0) {
        works_end(key % TAGS, what == 100);
    } else if (what < 103) {
        if (l2_sync(kit.d) != CELLAR_OK) { _exit(4); }
    } else {
        if (kit.cfg.no_thread) { kit.now_ms += 40; } /* otherwise the worker reads it */
        (void)l2_tick(kit.d, what % 2 == 0 ? 0 : 1000);
    }
    atomic_fetch_add(&o->calls, 1);
}

/* Work until death, at the latest after `most` calls. */
static void child_works(uint64_t seed, uint64_t most)
{
    base_rng r;
    base_rng_seed(&r, seed);
    if (l2_kit_open(&kit) != CELLAR_OK) { _exit(1); }
    uint32_t version = 1 + (uint32_t)base_rng_below(&r, 1u << 30);
    uint64_t floor;
    atomic_store(&o->epoch, l2_tags_known(kit.d, &floor, no_tag, NULL));
    for (uint64_t n = 0; n < most; n++) { work_once(&r, &version); }
    (void)kill(getpid(), SIGKILL);
}

/* ---- a value in parts ---- */

#define LONG_MOST ((size_t)160000)

static unsigned char long_value[LONG_MOST], long_got[LONG_MOST];
static size_t long_bytes = 40000;

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
                        .parts = &parts };
    const l2_key id = l2_kit_key(&kit, "long", 4, 5);
    cellar_err err = CELLAR_DROPPED;
    long_fill(version);
    for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
        err = l2_put(kit.d, &id, long_value, long_bytes, &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(kit.d, 1000); }
    }
    return err;
}

/* Return the version that is served; 0: a miss; UINT32_MAX: other bytes. */
static uint32_t long_look(void)
{
    size_t len = 0;
    l2_meta m;
    const l2_key id = l2_kit_key(&kit, "long", 4, 5);
    const cellar_err err = l2_kit_get(kit.d, &id, long_got, long_bytes, &len, &m);
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
    if (got != 1) { dprintf(2, "miss: again %u, thread %d\n", long_look(), !kit.cfg.no_thread); }
    T_CHECK(got == 1 || (got == 0 && atomic_load(&o->emptied) != 0));
    if (got != 1) { T_EQ_I64(long_put(1), CELLAR_OK); }
}

/* ---- one cycle ---- */

static void kit_new(uint64_t cycle)
{
    l2_kit_init(&kit, NULL);
    kit.cfg.path = store;
    if (disk != NULL) { kit.cfg.vfs = disk; }
    kit.cfg.seg_count = segments;
    kit.cfg.seg_bytes = seg_bytes;
    kit.cfg.bytes = (uint64_t)segments * kit.cfg.seg_bytes; /* live records move below a share */
    kit.cfg.move_pct = moves ? 50 : 0;
    kit.cfg.level = (l2_level)(cycle % 3);
    kit.cfg.sync_ms = 200;
}

static void child_starts(uint64_t cycle)
{
    kit.cfg.no_thread = cycle % 4 != 0;
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
    if (!T_CHECK(!WIFEXITED(status))) {
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
        if (stored == 0 || !same || (since > SURE_BYTES && !moves) || atomic_load(&o->emptied) != 0) {
            continue;
        }
        sure++;
        T_EQ_U64(got, stored);
    }
}

static void store_opens(void)
{
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static uint32_t generation_found(void)
{
    l2_namespace v;
    T_REQUIRE(l2_namespace_find(kit.d, "v", 1, &v));
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
        const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
        atomic_store(&o->stored[key], 0);
        if (got == 0 || drop) {
            l2_invalidate(kit.d, &id);
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
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
}

static void cycle_once(uint64_t cycle)
{
    atomic_store(&o->calls, 0);
    kit_new(cycle);
    child_dies(cycle);
    kit_new(cycle);
    store_opens();
    const uint32_t generation = generation_found();
    look_at_all(generation);
    if (only_point != NULL) { long_is_kept(); }
    atomic_store(&o->emptied, 0); /* the next work may drop all records, too, for the next open */
    T_EQ_STR(l2_audit(kit.d), NULL);
    settle(generation, cycle % 5 == 0);
    store_closes(cycle);
    if (t_failed()) {
        printf("# cycle %" PRIu64 ", level %d, point %s\n", cycle, (int)kit.cfg.level,
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
    kit_new(1);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace v = { 1, 5, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    atomic_store(&o->generation, 5);
    atomic_store(&o->generation_next, 5);
    l2_close(kit.d);
    kit.d = NULL;
}

static void end(void)
{
    T_EQ_I64(munmap(o, sizeof *o), 0);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

static void kill_in(const char *where, uint64_t most, uint64_t calls, bool with_moves)
{
    calls_most = calls;
    moves = with_moves;
    segments = moves ? 14 : 6;
    begin_in(where);
    for (; cycles < most && !t_failed(); cycles++) { cycle_once(cycles); }
    printf("# %s: %" PRIu64 " kills, %" PRIu64 " hits after them, %" PRIu64 " required\n",
           where, cycles, hits, sure);
    for (uint32_t i = 0; i < NAMES && atomic_load(&o->name[i]) != NULL; i++) {
        printf("# %-20s met %" PRIu64 ", killed there %" PRIu64 "\n", atomic_load(&o->name[i]),
               atomic_load(&o->met[i]), atomic_load(&o->killed_at[i]));
        if (atomic_load(&o->met[i]) >= 2000 && cycles >= 2000) {
            T_CHECK(atomic_load(&o->killed_at[i]) > 0);
        }
    }
    T_CHECK(cycles < 100 || (hits > cycles && sure > 0));
    end();
    moves = false;
    segments = 6;
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

/* ---- a death between any two steps while a value in parts replaces an older one ---- */

static void child_puts_long(uint32_t version, uint64_t steps)
{
    atomic_store(&steps_left, steps);
    if (l2_kit_open(&kit) != CELLAR_OK) { _exit(1); }
    l2_kit_warm(&kit);
    if (long_put(version) != CELLAR_OK) { _exit(2); }
    atomic_store(&o->now[0], version);
    for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
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
    kit_new(cycle);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_puts_long(version, steps); }
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(!WIFEXITED(status));
    kit_new(cycle);
    store_opens();
    const uint32_t got = long_look(), acked = atomic_load(&o->now[0]);
    if (atomic_load(&o->parted) != 0) {
        T_CHECK(got == version || (got == 0 && acked != version)); /* never the older one */
    } else {
        T_CHECK(got == before || got == 0); /* the tombstone may be in the log */
    }
    atomic_store(&o->now[0], got);
    T_EQ_STR(l2_audit(kit.d), NULL);
    store_closes(cycle);
    if (t_failed()) {
        printf("# step %" PRIu64 ", level %d, got %u, before %u, version %u\n", steps,
               (int)kit.cfg.level, got, before, version);
    }
    hits += got == version;
    sure += atomic_load(&o->parted) != 0 && got == 0;
    return atomic_load(&o->calls) == 0;
}

T_ALONE(killed_while_parts_are_put_leaves_no_old_or_torn_value)
{
    uint32_t version = 1;
    segments = 32;
    fatal_point = NULL;
    begin_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
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
        T_CHECK(steps > 60);
    }
    printf("# %" PRIu32 " lives, %" PRIu64 " with the new value, %" PRIu64 " with none\n", version,
           hits, sure);
    T_CHECK(hits > 10 && sure > 10);
    segments = 6;
    end();
}

/* ---- a death at each point of a move ---- */

/* A value in parts is put once. It stays whole while its parts, and other records, move. Many lives
 * in a row die at their first copy, so they use slots and free none. The points of a put in parts:
 * killed_while_parts_are_put_leaves_no_old_or_torn_value dies at each. */
T_CASE(killed_at_each_point_of_a_move_keeps_live_records)
{
    static const char *const point[] = { "l2.moved", "l2.complete", "l2.moves_durable",
                                         "l2.reclaim", "l2.put_named", "l2.sealed" };
    static const uint64_t visit[] = { 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 5, 1, 1, 1, 1, 40 };
    const uint64_t points = sizeof point / sizeof point[0], step = t_reduced() ? 5 : 1;
    uint64_t runs = 0, killed = 0;
    moves = true;
    segments = 24;
    seg_bytes = 65536;
    long_bytes = LONG_MOST;
    begin_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    kit_new(1);
    store_opens();
    T_EQ_I64(long_put(1), CELLAR_OK);
    store_closes(1);
    for (uint64_t run = base_rng_below(&rng, step); run < 3 * points && !t_failed(); run += step) {
        only_point = point[run / 3];
        for (size_t i = 0; i < sizeof visit / sizeof visit[0]; i++) {
            only_visit = visit[i];
            cycle_once(3 * ++runs + run % 3); /* at each level */
        }
    }
    for (uint32_t i = 0; i < NAMES && atomic_load(&o->name[i]) != NULL; i++) {
        killed += atomic_load(&o->killed_at[i]);
        printf("# %-20s met %" PRIu64 ", killed there %" PRIu64 "\n", atomic_load(&o->name[i]),
               atomic_load(&o->met[i]), atomic_load(&o->killed_at[i]));
    }
    T_EQ_U64(killed, runs);
    only_point = NULL;
    moves = false;
    segments = 6;
    seg_bytes = 16384;
    long_bytes = 40000;
    end();
}

/* ---- a death between any two stores to the stage ---- */

#define COPY_MAX ((size_t)1 << 20)
#define STEPS_MOST 200 /* of the handler that permits a store, and of the store */

static base_vfs traced;  /* the system, but a file and its copy have one identity */
static unsigned char *stage; /* of a traced child: each store to it faults first */
static size_t stage_bytes;
static char copy[T_FOLDER_MAX + 8];
static uint64_t copies;

static int stat_of_a_copy(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    const int e = base_vfs_system()->stat(ctx, f, out);
    out->inode = 7;
    out->born_ns = 0;
    out->device = 0;
    return e;
}

static void stage_permits(int how)
{
    if (stage != NULL && mprotect(stage, stage_bytes, how) != 0) { _exit(8); }
}

static int stage_map(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    const int e = base_vfs_system()->map_shared(ctx, f, bytes, out);
    if (e == 0) {
        stage = *out;
        stage_bytes = bytes;
        stage_permits(PROT_READ);
    }
    return e;
}

static int stage_arm(void *ctx, base_vfs_file *f, void *map, size_t offset, size_t bytes)
{
    stage_permits(PROT_READ | PROT_WRITE); /* the kernel stores */
    const int e = base_vfs_system()->arm(ctx, f, map, offset, bytes);
    stage_permits(PROT_READ);
    return e;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    const uintptr_t at = (uintptr_t)info->si_addr, from = (uintptr_t)stage;
    (void)sig;
    (void)context;
    if (at < from || at - from >= stage_bytes) { _exit(9); }
    stage_permits(PROT_READ | PROT_WRITE);
}

static void on_stored(int sig)
{
    (void)sig;
    stage_permits(PROT_READ);
}

static void child_traced(uint64_t cycle, uint64_t calls)
{
    struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    struct sigaction stored = { .sa_handler = on_stored };
    (void)sigaction(SIGSEGV, &fault, NULL);
    (void)sigaction(SIGUSR1, &stored, NULL);
    traced.map_shared = stage_map;
    traced.arm = stage_arm;
    kit.cfg.no_thread = true;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) { _exit(7); }
    (void)raise(SIGSTOP);
    child_works(t_.seed + cycle, calls);
}

static void copy_store(void)
{
    static const char *const names[] = { "SUPER", "META.0", "META.1", "stage.buf", "data.seg",
                                         "index.snap" };
    static unsigned char bytes[COPY_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[T_FOLDER_MAX + 32];
        snprintf(path, sizeof path, "%s/%s", store, names[i]);
        const int from = open(path, O_RDONLY);
        snprintf(path, sizeof path, "%s/%s", copy, names[i]);
        if (from < 0) {
            (void)unlink(path);
            continue;
        }
        const int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const ssize_t n = read(from, bytes, sizeof bytes);
        T_REQUIRE(to >= 0 && n >= 0 && (size_t)n < sizeof bytes);
        T_REQUIRE(write(to, bytes, (size_t)n) == n);
        (void)close(from);
        (void)close(to);
    }
}

/* Open a copy of the store as it is now: a process death leaves the same bytes. */
static void copy_opens(uint64_t cycle)
{
    static oracle was;
    copy_store();
    memcpy(&was, o, sizeof was);
    kit_new(cycle);
    kit.cfg.path = copy;
    store_opens();
    look_at_all(generation_found());
    T_EQ_U64(l2_kit_figures(&kit).holes, 0); /* nothing looks like damage */
    T_CHECK(kit.d->opened != L2_OPENED_RESET);
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_kit_kill(&kit);
    memcpy(o, &was, sizeof was);
    copies++;
}

/* Let the child do the store that faulted. Return false if it ended. */
static bool one_store(pid_t pid, const unsigned char *now, const unsigned char *last, size_t bytes)
{
    int sig = SIGSEGV;
    for (int i = 0; i < STEPS_MOST && memcmp(last, now, bytes) == 0; i++, sig = 0) {
        int status = 0;
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, sig) != 0 || waitpid(pid, &status, 0) != pid ||
            !WIFSTOPPED(status)) {
            return false;
        }
    }
    return true;
}

static const unsigned char *map_stage(size_t *bytes)
{
    struct stat st;
    char path[T_FOLDER_MAX + 32];
    snprintf(path, sizeof path, "%s/stage.buf", store);
    const int fd = open(path, O_RDONLY);
    T_REQUIRE(fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size <= COPY_MAX);
    *bytes = (size_t)st.st_size;
    const unsigned char *map = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0);
    T_REQUIRE(map != MAP_FAILED);
    (void)close(fd);
    return map;
}

/* Return false if this system cannot trace. */
static bool trace_once(uint64_t cycle, uint64_t calls)
{
    static unsigned char last[COPY_MAX];
    int status = 0, sig = 0;
    atomic_store(&o->calls, 0);
    kit_new(cycle);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_traced(cycle, calls); }
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (!WIFSTOPPED(status)) { return false; }
    size_t bytes;
    const unsigned char *now = map_stage(&bytes);
    memcpy(last, now, bytes);
    uint64_t stores = 0;
    while (!t_failed() && ptrace(PTRACE_CONT, pid, NULL, sig) == 0 &&
           waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        sig = WSTOPSIG(status);
        if (sig != SIGSEGV) { continue; }
        if (!one_store(pid, now, last, bytes)) { break; }
        sig = SIGUSR1;
        if (memcmp(last, now, bytes) == 0) { continue; }
        memcpy(last, now, bytes);
        stores++;
        copy_opens(cycle);
    }
    T_CHECK(!WIFEXITED(status));
    if (t_failed()) {
        printf("# life %" PRIu64 ", level %d, call %" PRIu64 ", store %" PRIu64 "\n", cycle,
               (int)(cycle % 3), atomic_load(&o->calls), stores);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    (void)munmap((void *)(uintptr_t)now, bytes);
    return true;
}

T_ALONE(killed_after_any_store_to_the_stage_keeps_acknowledged_changes)
{
    if (T_COST > 1 || t_patience() > 1) {
        T_SKIP("a sanitizer or an emulator stores, too");
        return;
    }
    traced = *base_vfs_system();
    traced.stat = stat_of_a_copy;
    disk = &traced;
    begin_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    snprintf(copy, sizeof copy, "%s/copy", folder);
    T_EQ_I64(mkdir(copy, 0700), 0);
    const uint64_t most = t_env_u64("KILL_TRACED", t_share(12));
    for (copies = 0; cycles < most && !t_failed(); cycles++) {
        if (!trace_once(cycles, 40)) {
            T_SKIP("no tracing of a process here");
            break;
        }
        kit_new(cycles);
        store_opens();
        const uint32_t generation = generation_found();
        atomic_store(&o->emptied, 0);
        settle(generation, false);
        store_closes(cycles);
    }
    printf("# %" PRIu64 " lives, %" PRIu64 " copies opened, %" PRIu64 " required\n", cycles, copies,
           sure);
    disk = NULL;
    t_wipe(copy);
    end();
}

T_MAIN("l2_kill")
