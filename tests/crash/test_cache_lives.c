/* SPDX-License-Identifier: MIT
 *
 * Aim:    A disk tier neither forgets nor revives over many short lives. An entry that one life
 *         stored is found in all later ones, after closes and after kills. A deleted, invalidated
 *         or cleared entry is found in none of them. Both at each level of sync.
 * Method: Each life is a process that opens the store and ends by cellar_close or by SIGKILL.
 *         Found:   a life sets 10 entries of 200 bytes THROUGH. All entries are read now and then.
 *                  A store that takes a segment in each life forgets after 56.
 *         Revived: four writers, each with a namespace of its own, set entries with tags, THROUGH,
 *                  or on set or on eviction: an entry in memory is sure once cellar_save returns.
 *                  They delete by key, tag and pattern, clear, and raise versions until SIGKILL. A
 *                  few keys change all the time and fill the log, so that all others move; in a
 *                  quarter of the lives long values do so as well. The test then opens the store,
 *                  at ALWAYS at times as after a power cut, and compares each key with the calls of
 *                  its writer, begun and finished. A revived entry may appear two lives after its
 *                  invalidation, when the control in the log is forgotten. Entries may be lost only
 *                  where the disk did not answer until the kill.
 *         LIVES=n: lives of each kind at each level. LIVES_DIR: where the store is. LIVES_LOAD=n:
 *         n processes write and sync other files there, and no open may take longer than
 *         OPEN_MOST_US. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/random.h"
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "tests/support/figures.h"
#include "tests/support/folder.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#define EACH 10u
#define BYTES 200u

#define WRITERS 4u
#define OWN 300u  /* keys of a writer */
#define HOT 20u   /* keys that change most of the time */
#define GROUPS 10u /* of keys with a common tag and a common pattern */
#define VALUE_MAX 1024u
#define BULK_BYTES 700000u
#define WHY_MAX 1024u

#define LOADS 8u
#define LOAD_BYTES ((size_t)1 << 20)
#define OPENS ((uint32_t)1 << 16) /* the last ones have a time */
#define OPEN_MOST_US UINT32_C(2000000)

typedef struct entry { /* stored by its writer, read after the death of the process */
    _Atomic uint32_t now;   /* version of the last finished call; 0: none */
    _Atomic uint32_t next;  /* version that the call in progress makes */
    _Atomic uint32_t sure;  /* version that the disk has for good */
    _Atomic uint32_t doubt; /* 1: a call in progress, or a refused one, may have ended the entry */
} entry;

typedef struct shared { /* by all processes of a case */
    entry entry[WRITERS][OWN];
    _Atomic uint32_t version, opens;
    _Atomic uint64_t sets, ends; /* finished calls; ends: by tag, pattern, clear or version */
    _Atomic uint64_t stalls; /* of the disk since the last check: entries may be lost */
    char life[WHY_MAX], open[WHY_MAX]; /* figures at the end of a life; of the open behind it */
    _Atomic uint32_t open_us[OPENS];
} shared;

static shared *seen;
static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static pid_t load[LOADS];
static uint32_t loads;

/* ---- open, and the time of each ---- */

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static cellar *open_it(uint32_t sync, uint64_t l2_bytes)
{
    cellar *c = NULL;
    cellar_namespace_config v = { .struct_size = sizeof v, .l2_write = CELLAR_L2_WRITE_THROUGH };
    settings cfg = { SETTINGS_SIZES, .config.root = &v, .config.memory_bytes = (uint64_t)16 << 20,
                     .config.l2_path = store, .config.l2_bytes = l2_bytes, .l2.sync = sync,
                     .l2.close_ms = CELLAR_TTL_NONE };
    const uint64_t since_us = now_us();
    const cellar_err err = settings_open(&cfg, &c);
    const uint32_t n = atomic_fetch_add(&seen->opens, 1);
    atomic_store(&seen->open_us[n % OPENS], (uint32_t)(now_us() - since_us));
    return err == CELLAR_OK ? c : NULL;
}

static int longer(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report_opens(void)
{
    static uint32_t us[OPENS];
    uint32_t n = atomic_load(&seen->opens), over = 0;
    n = n < OPENS ? n : OPENS;
    if (n == 0) { return; }
    for (uint32_t i = 0; i < n; i++) {
        us[i] = atomic_load(&seen->open_us[i]);
        over += us[i] > OPEN_MOST_US;
    }
    qsort(us, n, sizeof *us, longer);
    printf("# %u opens: median %u us, p99.9 %u us, longest %u us, %u above %u us\n", n, us[n / 2],
           us[n - 1 - n / 1000], us[n - 1], over, OPEN_MOST_US);
    if (loads > 0) { T_EQ_U64(over, 0); }
}

/* ---- other load on the disk ---- */

static void load_works(uint32_t number)
{
    static unsigned char bytes[LOAD_BYTES];
    char path[T_FOLDER_MAX + 16];
    snprintf(path, sizeof path, "%s/load%u", folder, number);
    const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    for (uint32_t i = 0; fd >= 0; i++) {
        bytes[i % LOAD_BYTES]++;
        if (pwrite(fd, bytes, LOAD_BYTES, (off_t)(i % 64 * LOAD_BYTES)) < 0) { break; }
        if (i % 16 == 15 && fdatasync(fd) != 0) { break; }
    }
    _exit(1);
}

static void load_begins(void)
{
    loads = (uint32_t)t_env_u64("LIVES_LOAD", 0);
    T_REQUIRE(loads <= LOADS);
    for (uint32_t i = 0; i < loads; i++) {
        (void)fflush(NULL);
        load[i] = fork();
        if (load[i] == 0) { load_works(i); }
        T_REQUIRE(load[i] > 0);
    }
}

static void load_ends(void)
{
    char path[T_FOLDER_MAX + 16];
    for (uint32_t i = 0; i < loads; i++) {
        (void)kill(load[i], SIGKILL);
        (void)waitpid(load[i], NULL, 0);
        snprintf(path, sizeof path, "%s/load%u", folder, i);
        (void)unlink(path);
    }
    loads = 0;
}

/* ---- one case ---- */

static void case_begins(void)
{
    const char *dir = getenv("LIVES_DIR");
    t_folder_in(dir != NULL ? dir : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", folder);
    snprintf(store, sizeof store, "%s/store", folder);
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(seen != MAP_FAILED);
    load_begins();
}

static void case_ends(void)
{
    report_opens();
    load_ends();
    T_EQ_I64(munmap(seen, sizeof *seen), 0);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

/* ---- found ---- */

static void value_of(uint32_t key, unsigned char value[BYTES])
{
    for (uint32_t i = 0; i < BYTES; i++) { value[i] = (unsigned char)(key * 7 + i); }
}

static int life(uint32_t number, uint32_t sync, bool closes)
{
    unsigned char value[BYTES];
    cellar *c = open_it(sync, (uint64_t)64 << 20);
    if (c == NULL) { return 1; }
    for (uint32_t key = number * EACH; key < (number + 1) * EACH; key++) {
        value_of(key, value);
        if (cellar_set(c, &key, sizeof key, value, BYTES, NULL) != CELLAR_OK) { return 2; }
    }
    if (closes) { return cellar_close(c) == CELLAR_OK ? 0 : 3; }
    (void)kill(getpid(), SIGKILL);
    return 4;
}

/* Return how many entries of the first `lives` lives are found. */
static uint32_t found(uint32_t lives, uint32_t sync)
{
    uint32_t n = 0, looks = 3000; /* a get of a disk that does not answer misses */
    cellar *c = open_it(sync, (uint64_t)64 << 20);
    T_REQUIRE(c != NULL);
    for (uint32_t key = 0; key < lives * EACH; key++) {
        unsigned char value[BYTES], want[BYTES];
        size_t len = 0;
        cellar_err err;
        value_of(key, want);
        while ((err = cellar_get(c, &key, sizeof key, value, BYTES, &len)) == CELLAR_MISS &&
               looks != 0) {
            looks--;
            usleep(20000);
        }
        n += err == CELLAR_OK && len == BYTES && memcmp(value, want, BYTES) == 0;
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    return n;
}

static void lives(const char *how, uint32_t sync, uint32_t ends)
{
    const uint32_t most = (uint32_t)t_env_u64("LIVES", 70);
    case_begins();
    for (uint32_t n = 0; n < most && !t_failed(); n++) {
        const bool closes = ends == 0 || (ends == 2 && n % 2 == 0);
        int status = 0;
        (void)fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0) { _exit(life(n, sync, closes)); }
        T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        if (closes) { T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0); }
        if (!closes) { T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); }
        if ((n + 1) % (most / 4 + 1) == 0 || n + 1 == most) {
            T_EQ_U64(found(n + 1, sync), (uint64_t)(n + 1) * EACH);
        }
    }
    printf("# %s, sync %u: %u lives\n", how, sync, most);
    case_ends();
}

static void each(const char *how, uint32_t ends)
{
    static const uint32_t sync[] = { CELLAR_L2_SYNC_MANUAL, CELLAR_L2_SYNC_PERIODIC,
                                     CELLAR_L2_SYNC_ALWAYS };
    for (uint32_t i = 0; i < 3; i++) {
        if (getenv("LIVES") != NULL || i == ends) { lives(how, sync[i], ends); }
    }
}

T_CASE(closed_lives_are_found) { each("closed", 0); }
T_CASE(killed_lives_are_found) { each("killed", 1); }
T_CASE(mixed_lives_are_found) { each("closed and killed", 2); }

/* ---- revived ---- */

static cellar *ns[WRITERS], *bulk;
static uint32_t write_mode; /* CELLAR_L2_WRITE_.. of these */

static uint32_t fill(unsigned char *buf, uint32_t writer, uint32_t key, uint32_t version)
{
    const uint32_t n = 100 + (writer * 37 + key * 53) % 900;
    memcpy(buf, &version, sizeof version);
    for (uint32_t i = sizeof version; i < n; i++) {
        buf[i] = (unsigned char)(writer + key * 3 + version * 7 + i);
    }
    return n;
}

static size_t name_of(uint32_t key, char out[24])
{
    return (size_t)snprintf(out, 24, "k%u:%u", key % GROUPS, key);
}

/* All namespaces share the tags, so that a tag names its writer. */
static void tag_of(uint32_t writer, uint32_t group, char out[2])
{
    out[0] = (char)('0' + writer);
    out[1] = (char)('0' + group);
}

/* Open the store and the namespaces. */
static cellar *open_all(uint32_t sync)
{
    cellar_namespace_config v = { .struct_size = sizeof v, .l2_write = write_mode };
    cellar *c = open_it(sync, (uint64_t)16 << 20);
    for (uint32_t i = 0; i < WRITERS && c != NULL; i++) {
        const char name[] = { 'n', (char)('0' + i), 0 };
        if (cellar_namespace_open(c, name, &v, &ns[i]) != CELLAR_OK) { return NULL; }
    }
    if (c != NULL && cellar_namespace_open(c, "bulk", &v, &bulk) != CELLAR_OK) { return NULL; }
    return c;
}

static void write_set(uint32_t writer, uint32_t key)
{
    unsigned char buf[VALUE_MAX];
    char name[24], tag[2];
    const cellar_bytes tags = { tag, sizeof tag };
    entry *e = &seen->entry[writer][key];
    const uint32_t version = atomic_fetch_add(&seen->version, 1) + 1;
    const uint32_t n = fill(buf, writer, key, version);
    tag_of(writer, key % GROUPS, tag);
    cellar_set_opts opts = { .struct_size = sizeof opts, .tags = &tags, .tag_count = 1 };
    atomic_store(&e->next, version);
    if (cellar_set(ns[writer], name, name_of(key, name), buf, n, &opts) == CELLAR_OK) {
        atomic_store(&e->now, version);
        if (write_mode == CELLAR_L2_WRITE_THROUGH) { atomic_store(&e->sure, version); }
        atomic_fetch_add(&seen->sets, 1);
    } else {
        atomic_store(&e->doubt, 1);
    }
}

static void write_delete(uint32_t writer, uint32_t key)
{
    char name[24];
    entry *e = &seen->entry[writer][key];
    atomic_store(&e->next, 0);
    const cellar_err err = cellar_delete(ns[writer], name, name_of(key, name));
    if (err == CELLAR_OK || err == CELLAR_MISS) {
        atomic_store(&e->now, 0);
    } else {
        atomic_store(&e->doubt, 1);
    }
}

enum { BY_TAG, BY_PATTERN, BY_CLEAR, BY_VERSION };

/* End all entries of a group, or of the namespace. */
static void write_end(uint32_t writer, uint32_t group, int how)
{
    entry *e = seen->entry[writer];
    const uint32_t first = how < BY_CLEAR ? group : 0, step = how < BY_CLEAR ? GROUPS : 1;
    const char pattern[] = { 'k', (char)('0' + group), ':', '*' };
    char tag[2];
    cellar_err err = CELLAR_OK;
    tag_of(writer, group, tag);
    for (uint32_t i = first; i < OWN; i += step) { atomic_store(&e[i].doubt, 1); }
    switch (how) {
    case BY_TAG: err = cellar_delete_by_tag(ns[writer], tag, 2, CELLAR_TAG_HARD); break;
    case BY_PATTERN: err = cellar_delete_by_pattern(ns[writer], pattern, sizeof pattern, NULL); break;
    case BY_CLEAR: err = cellar_clear(ns[writer]); break;
    default: err = cellar_version_set(ns[writer], 0, NULL); break;
    }
    if (err != CELLAR_OK) { return; }
    for (uint32_t i = first; i < OWN; i += step) {
        atomic_store(&e[i].next, 0);
        atomic_store(&e[i].now, 0);
        atomic_store(&e[i].doubt, 0);
    }
    atomic_fetch_add(&seen->ends, 1);
}

static void *writes(void *arg)
{
    const uint32_t writer = (uint32_t)(uintptr_t)arg;
    base_rng r;
    base_rng_seed(&r, t_.seed + (uint64_t)atomic_load(&seen->version) * WRITERS + writer);
    for (;;) {
        const uint32_t keys = base_rng_below(&r, 40) != 0 ? HOT : OWN;
        const uint32_t key = (uint32_t)base_rng_below(&r, keys);
        const uint64_t what = base_rng_below(&r, 6000);
        const bool known = atomic_load(&seen->entry[writer][key].doubt) == 0;
        if (what < 5500 && known) {
            write_set(writer, key);
        } else if (what >= 5500 && what < 5960 && known) {
            write_delete(writer, key);
        } else if (what >= 5960) {
            const int group_ends = what < 5975 ? BY_TAG : BY_PATTERN;
            const int how = what < 5990 ? group_ends : what == 5990 ? BY_CLEAR : BY_VERSION;
            if (what < 5992) { write_end(writer, key % GROUPS, how); }
        }
    }
    return NULL;
}

/* Overwrite long values of another namespace, and clear it now and then: the log wraps, with little
 * of it alive. */
static void *writes_bulk(void *arg)
{
    static unsigned char value[BULK_BYTES];
    (void)arg;
    for (uint32_t i = 0;; i++) {
        (void)cellar_set(bulk, i % 2 != 0 ? "odd" : "even", 4, value,
                         BULK_BYTES - i % 7 * 90000, NULL);
        if (i % 16 == 15) { (void)cellar_clear(bulk); }
    }
    return NULL;
}

/* Count what may take all entries: a disk that did not answer for long, or until the kill. */
static void note_stalls(cellar *c)
{
    const bool discarded = figure(c, "cellar_l2_opened") == OPENED_RESET;
    atomic_fetch_add(&seen->stalls, discarded + figure(c, "cellar_l2_emptied_total"));
}

/* Copy the figures that are not 0 and tell why the disk lost an entry, each after a blank. */
static void note_why(cellar *c, char out[WHY_MAX])
{
    static const char *const names[] = {
        "cellar_lost_entries_total", "cellar_l2_moved_bytes_total ", "cellar_l2_reclaimed_total ",
        "cellar_l2_live_bytes " };
    size_t len = 0;
    out[0] = 0;
    for (const char *at = figures_text(c); at != NULL && at[1] != 0; at = strchr(at + 1, '\n')) {
        const char *line = *at == '\n' ? at + 1 : at;
        const size_t n = strcspn(line, "\n");
        bool is = false;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            is = is || strncmp(line, names[i], strlen(names[i])) == 0;
        }
        if (!is || n < 2 || memcmp(line + n - 2, " 0", 2) == 0) { continue; }
        if (len + n + 2 > WHY_MAX) { break; }
        len += (size_t)snprintf(out + len, WHY_MAX - len, " %.*s", (int)n, line);
    }
}

/* Return how many entries left memory for room. The disk drops their puts where it has none. */
static uint64_t left_for_room(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        cellar_stats s = cellar_stats_default();
        if (cellar_stats_get(ns[i], CELLAR_SCOPE_NAMESPACE, &s) != CELLAR_OK) { return 1; }
        n += s.ended[CELLAR_CAUSE_EVICTED] + s.ended[CELLAR_CAUSE_REJECTED];
    }
    return n;
}

/* Save while the writers go on. What was finished before, and still is in memory, is on the disk
 * then. */
static void save(cellar *c)
{
    static uint32_t before[WRITERS][OWN];
    entry *const all = &seen->entry[0][0];
    for (uint32_t i = 0; i < WRITERS * OWN; i++) { (&before[0][0])[i] = atomic_load(&all[i].now); }
    if (cellar_save(c, NULL) != CELLAR_OK || left_for_room() != 0) { return; }
    for (uint32_t i = 0; i < WRITERS * OWN; i++) { atomic_store(&all[i].sure, (&before[0][0])[i]); }
}

static void life_with_ends(uint32_t sync, uint32_t us, bool in_bulk)
{
    pthread_t t;
    cellar *c = open_all(sync);
    if (c == NULL) { _exit(1); }
    for (uint32_t i = 0; i < WRITERS; i++) {
        if (pthread_create(&t, NULL, writes, (void *)(uintptr_t)i) != 0) { _exit(2); }
    }
    if (in_bulk && pthread_create(&t, NULL, writes_bulk, NULL) != 0) { _exit(2); }
    usleep(us);
    if (write_mode != CELLAR_L2_WRITE_THROUGH) {
        save(c);
        usleep(us / 4);
    }
    note_stalls(c);
    note_why(c, seen->life);
    (void)kill(getpid(), SIGKILL);
    for (;;) { pause(); }
}

/* Return the version of the key in the store; 0: none. */
static uint32_t look(uint32_t writer, uint32_t key)
{
    unsigned char buf[VALUE_MAX], want[VALUE_MAX];
    char name[24];
    size_t len = 0;
    uint32_t version = 0;
    const cellar_err err = cellar_get(ns[writer], name, name_of(key, name), buf, sizeof buf, &len);
    if (err == CELLAR_MISS) { return 0; }
    T_EQ_I64(err, CELLAR_OK);
    memcpy(&version, buf, sizeof version);
    T_EQ_U64(len, fill(want, writer, key, version));
    T_EQ_MEM(buf, want, len < sizeof want ? len : sizeof want);
    return version;
}

/* A get of a disk that does not answer misses: look again for 60 s in all. */
static uint32_t look_for(uint32_t writer, uint32_t key)
{
    static uint32_t looks = 3000;
    uint32_t got = look(writer, key);
    for (; looks != 0 && got == 0; looks--) {
        usleep(20000);
        got = look(writer, key);
    }
    return got;
}

static void judge(uint32_t number, uint32_t writer, uint32_t key)
{
    char name[24];
    entry *e = &seen->entry[writer][key];
    const uint32_t now = e->now, next = e->next;
    const bool sure = now != 0 && now == next && now == e->sure && e->doubt == 0 &&
                      seen->stalls == 0;
    const uint32_t got = sure ? look_for(writer, key) : look(writer, key);
    const bool revived = got != 0 && got != now && got != next, lost = got == 0 && sure;
    if (!T_CHECK(!revived) || !T_CHECK(!lost)) {
        printf("# life %u: writer %u, key %u: got version %u, finished %u, begun %u\n", number,
               writer, key, got, now, next);
    }
    e->doubt = 0;
    if (got == 0 && next != 0) { /* This get may have met a disk that does not answer. */
        const cellar_err err = cellar_delete(ns[writer], name, name_of(key, name));
        if (err != CELLAR_OK && err != CELLAR_MISS) {
            e->doubt = 1;
            return;
        }
    }
    e->now = e->next = e->sure = got; /* What one open shows, all later ones show. */
}

/* At ALWAYS each second open follows a power cut: it reads no boot id. */
static void look_at_all(uint32_t number, uint32_t sync)
{
    const bool cut = sync == CELLAR_L2_SYNC_ALWAYS && number % 2 != 0;
    if (cut) { (void)base_fault_io_arm("boot_id", EIO, 1, false); }
    cellar *c = open_all(sync);
    if (cut) { (void)base_fault_io_arm(NULL, 0, 0, false); }
    T_REQUIRE(c != NULL);
    note_stalls(c);
    note_why(c, seen->open);
    for (uint32_t i = 0; i < WRITERS * OWN; i++) { judge(number, i / OWN, i % OWN); }
    if (t_failed()) { printf("# the life:%s\n# the open:%s\n", seen->life, seen->open); }
    seen->stalls = 0;
    note_stalls(c);
    for (uint32_t i = 0; i < WRITERS; i++) { T_EQ_I64(cellar_namespace_close(ns[i]), CELLAR_OK); }
    T_EQ_I64(cellar_namespace_close(bulk), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void lives_with_ends(uint32_t sync, uint32_t write)
{
    write_mode = write;
    const uint64_t some = t_share(16) / T_COST;
    const uint32_t most = (uint32_t)t_env_u64("LIVES", some > 2 ? some : 2);
    base_rng r;
    base_rng_seed(&r, t_.seed);
    case_begins();
    for (uint32_t n = 0; n < most && !t_failed(); n++) {
        const uint32_t us = 20000 + (uint32_t)base_rng_below(&r, 60000);
        int status = 0;
        (void)fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0) { life_with_ends(sync, us, n % 4 == 1); }
        T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        look_at_all(n, sync);
    }
    printf("# sync %u, write %u: %u lives, %" PRIu64 " sets, %" PRIu64 " ends of a group or a "
           "namespace\n", sync, write_mode, most, (uint64_t)seen->sets, (uint64_t)seen->ends);
    case_ends();
}

T_CASE(invalidated_entries_stay_away_at_manual_sync)
{
    lives_with_ends(CELLAR_L2_SYNC_MANUAL, CELLAR_L2_WRITE_THROUGH);
}

T_CASE(invalidated_entries_stay_away_at_periodic_sync)
{
    lives_with_ends(CELLAR_L2_SYNC_PERIODIC, CELLAR_L2_WRITE_THROUGH);
}

T_CASE(invalidated_entries_stay_away_at_sync_always)
{
    lives_with_ends(CELLAR_L2_SYNC_ALWAYS, CELLAR_L2_WRITE_THROUGH);
}

T_CASE(saved_entries_of_writes_on_set_are_found)
{
    lives_with_ends(CELLAR_L2_SYNC_PERIODIC, CELLAR_L2_WRITE_ON_SET);
}

T_CASE(saved_entries_of_writes_on_eviction_are_found)
{
    lives_with_ends(CELLAR_L2_SYNC_PERIODIC, CELLAR_L2_WRITE_ON_EVICTION);
}

T_MAIN("cache_lives")
