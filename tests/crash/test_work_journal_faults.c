/* SPDX-License-Identifier: MIT
 *
 * Aim:    errors of the disk and power cuts under a journal. A call of the disk that fails once
 *         refuses a submit or delays a final state; nothing is lost and nothing runs twice. After a
 *         cut the journal opens, has each acknowledged submit, and none after its final state. So
 *         it is with firings of a schedule and with messages.
 * Method: an own VFS of SQLite, registered as the default one, passes calls to that of the system.
 *         It counts them: call n fails (with an error, or after half of a write), or the files are
 *         copied at call n as a cut leaves them: each file as of its last sync, and of the writes
 *         since all, none, or a random part. A volume may also be full. Both clocks are variables;
 *         the test calls cellar_tick. `make test` tries each fourth call. */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/random.h"
#include "cellar_bus.h"
#include "cellar_schedule.h"
#include "cellar_task.h"
#include "tests/support/bus_send.h"
#include "tests/support/folder.h"
#include "tests/support/schedule_kit.h"
#include "tests/support/t.h"
#include "tests/support/task_calls.h"
#include "tests/support/two_clocks.h"

#ifdef CELLAR_WITH_SQLITE
#include <sqlite3.h>

T_ONE_THREAD;

#define FILES 4u
#define WRITES 1024u
#define TASKS 10u
#define MESSAGES 4u
#define START_MS INT64_C(1700000000000)
#define ALL_US UINT64_C(3600000000) /* a tick does all that is due: no run has fewer commits */

/* ---- the disk ---- */

typedef struct disk_write { /* since the last sync of its file; len 0: truncated to offset */
    size_t offset, len;
    unsigned char *bytes;
} disk_write;

typedef struct disk_image {
    unsigned char *bytes;
    size_t len;
    bool exists;
} disk_image;

typedef struct disk_file {
    char name[T_FOLDER_MAX + 16]; /* "": free */
    disk_image synced;
    disk_write write[WRITES];
    size_t write_count;
} disk_file;

typedef struct shim_file {
    sqlite3_file base;
    disk_file *of;
    sqlite3_file *real;
} shim_file;

typedef enum disk_fault { FAULT_IO, FAULT_FULL, FAULT_HALF } disk_fault;
typedef enum disk_cut { CUT_KEEPS_ALL, CUT_DROPS_ALL, CUT_KEEPS_SOME } disk_cut;

typedef struct task_note {
    bool acknowledged, refused, final;
    uint32_t ran;
} task_note;

static sqlite3_vfs *real_vfs, shim;
static disk_file disk[FILES];
static base_rng rng;
static size_t volume_bytes; /* of the database, its WAL and the file that keeps room; 0: no limit */
static struct {
    uint64_t calls, fail_at, cut_at; /* 0: never */
    disk_fault fault;
    disk_cut how;
    bool failed, cut;
    disk_image image[FILES]; /* of the cut, by file */
} now;
static task_note task_of[TASKS], at_cut[TASKS];
static struct talk { /* of messages */
    bool accepted[MESSAGES], settled[MESSAGES], settles[MESSAGES]; /* settles: or is about to */
    uint32_t seen[MESSAGES];
} talk, talk_at_cut;
static bool recurs, recurs_at_cut; /* a schedule was added */

static void image_set(disk_image *m, size_t len)
{
    if (len > m->len) {
        m->bytes = realloc(m->bytes, len);
        T_REQUIRE(m->bytes != NULL);
        memset(m->bytes + m->len, 0, len - m->len);
    }
    m->len = len;
}

static void image_write(disk_image *m, size_t offset, const unsigned char *bytes, size_t len)
{
    if (offset + len > m->len) { image_set(m, offset + len); }
    if (len != 0) { memcpy(m->bytes + offset, bytes, len); }
}

static void image_free(disk_image *m)
{
    free(m->bytes);
    *m = (disk_image){ NULL, 0, false };
}

static void writes_forget(disk_file *f)
{
    for (size_t i = 0; i < f->write_count; i++) { free(f->write[i].bytes); }
    f->write_count = 0;
}

/* Apply the writes since the last sync: all of them, or a part of each that is drawn. */
static void writes_apply(const disk_file *f, disk_image *m, disk_cut how)
{
    for (size_t i = 0; i < f->write_count && how != CUT_DROPS_ALL; i++) {
        const disk_write *w = &f->write[i];
        const uint64_t drawn = how == CUT_KEEPS_SOME ? base_rng_below(&rng, 4) : 3;
        m->exists = true;
        if (w->len == 0) {
            if (drawn != 0) { image_set(m, w->offset); }
        } else if (drawn != 0) {
            const size_t part = drawn == 1 ? (w->len / 2) / 512 * 512 : w->len;
            image_write(m, w->offset, w->bytes, part);
        }
    }
}

static void disk_reset(void)
{
    for (size_t i = 0; i < FILES; i++) {
        writes_forget(&disk[i]);
        image_free(&disk[i].synced);
        image_free(&now.image[i]);
        disk[i].name[0] = '\0';
    }
    memset(&now, 0, sizeof now);
    memset(task_of, 0, sizeof task_of);
    memset(&talk, 0, sizeof talk);
    recurs = false;
}

static void disk_cut_now(void)
{
    now.cut = true;
    memcpy(at_cut, task_of, sizeof at_cut);
    talk_at_cut = talk;
    recurs_at_cut = recurs;
    for (size_t i = 0; i < FILES; i++) {
        disk_image *m = &now.image[i];
        m->exists = disk[i].synced.exists;
        image_write(m, 0, disk[i].synced.bytes, disk[i].synced.len);
        writes_apply(&disk[i], m, now.how);
    }
}

static size_t file_bytes(const char *suffix);

static size_t volume_used(void)
{
    return file_bytes("") + file_bytes("-wal") + file_bytes("-room");
}

/* Return whether a write would pass the limit of the volume. */
static bool volume_full(sqlite3_file *real, size_t end)
{
    sqlite3_int64 size = 0;
    if (volume_bytes == 0) { return false; }
    T_REQUIRE(real->pMethods->xFileSize(real, &size) == SQLITE_OK);
    return end > (size_t)size && volume_used() + (end - (size_t)size) > volume_bytes;
}

/* The file that keeps room gets a part of what is free. */
int fstatfs(int fd, struct statfs *out)
{
    const int rc = (int)syscall(SYS_fstatfs, fd, out);
    if (rc == 0 && volume_bytes != 0) {
        const size_t used = BASE_MIN(volume_used(), volume_bytes);
        out->f_bavail = (volume_bytes - used) / (size_t)out->f_bsize;
    }
    return rc;
}

/* Count a call. Return whether it fails. */
static bool disk_fails(void)
{
    now.calls++;
    if (now.calls == now.cut_at) { disk_cut_now(); }
    if (now.calls == now.fail_at) { now.failed = true; }
    return now.calls == now.fail_at;
}

static disk_file *disk_find(const char *name)
{
    size_t i = 0;
    while (i < FILES && disk[i].name[0] != '\0' && strcmp(disk[i].name, name) != 0) { i++; }
    T_REQUIRE(i < FILES && strlen(name) < sizeof disk[i].name);
    memcpy(disk[i].name, name, strlen(name) + 1);
    return &disk[i];
}

static void disk_note(disk_file *f, size_t offset, const void *bytes, size_t len)
{
    T_REQUIRE(f->write_count < WRITES);
    disk_write *w = &f->write[f->write_count++];
    *w = (disk_write){ offset, len, NULL };
    if (len == 0) { return; }
    w->bytes = malloc(len);
    T_REQUIRE(w->bytes != NULL);
    memcpy(w->bytes, bytes, len);
}

/* ---- the VFS ---- */

static shim_file *shim_of(sqlite3_file *file) { return (shim_file *)(void *)file; }

static int shim_close(sqlite3_file *file)
{
    shim_file *s = shim_of(file);
    return s->real->pMethods->xClose(s->real);
}

static int shim_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
    sqlite3_file *real = shim_of(file)->real;
    return disk_fails() ? SQLITE_IOERR_READ : real->pMethods->xRead(real, buf, len, offset);
}

static int shim_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
    shim_file *s = shim_of(file);
    if (volume_full(s->real, (size_t)offset + (size_t)len)) { return SQLITE_FULL; }
    const bool fails = disk_fails();
    const int part = !fails ? len : now.fault == FAULT_HALF ? len / 2 : 0;
    const int rc = part != 0 ? s->real->pMethods->xWrite(s->real, buf, part, offset) : SQLITE_OK;
    if (part != 0 && rc == SQLITE_OK && volume_bytes == 0) {
        disk_note(s->of, (size_t)offset, buf, (size_t)part);
    }
    return !fails ? rc : now.fault == FAULT_IO ? SQLITE_IOERR_WRITE : SQLITE_FULL;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    shim_file *s = shim_of(file);
    if (disk_fails()) { return SQLITE_IOERR_TRUNCATE; }
    if (volume_bytes == 0) { disk_note(s->of, (size_t)size, NULL, 0); }
    return s->real->pMethods->xTruncate(s->real, size);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    shim_file *s = shim_of(file);
    (void)flags; /* the cut decides what a sync means; the disk of the machine is left alone */
    if (disk_fails()) { return SQLITE_IOERR_FSYNC; }
    s->of->synced.exists = true;
    writes_apply(s->of, &s->of->synced, CUT_KEEPS_ALL);
    writes_forget(s->of);
    return SQLITE_OK;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    sqlite3_file *real = shim_of(file)->real;
    return disk_fails() ? SQLITE_IOERR_FSTAT : real->pMethods->xFileSize(real, size);
}

static int shim_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = shim_of(file)->real;
    return disk_fails() ? SQLITE_IOERR_LOCK : real->pMethods->xLock(real, level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xUnlock(real, level);
}

static int shim_reserved(sqlite3_file *file, int *out)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xCheckReservedLock(real, out);
}

static int shim_control(sqlite3_file *file, int op, void *arg)
{
    sqlite3_file *real = shim_of(file)->real;
    return real->pMethods->xFileControl(real, op, arg);
}

static int shim_sector(sqlite3_file *file) { (void)file; return 512; }

static int shim_traits(sqlite3_file *file)
{
    (void)file;
    return 0; /* no promise about power cuts */
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 1, .xClose = shim_close, .xRead = shim_read, .xWrite = shim_write,
    .xTruncate = shim_truncate, .xSync = shim_sync, .xFileSize = shim_size, .xLock = shim_lock,
    .xUnlock = shim_unlock, .xCheckReservedLock = shim_reserved, .xFileControl = shim_control,
    .xSectorSize = shim_sector, .xDeviceCharacteristics = shim_traits,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    shim_file *s = shim_of(file);
    (void)vfs;
    s->base.pMethods = NULL;
    s->real = (sqlite3_file *)(void *)(s + 1);
    if (disk_fails()) { return SQLITE_CANTOPEN; }
    s->of = disk_find(name);
    const int rc = real_vfs->xOpen(real_vfs, name, s->real, flags, out);
    if (rc == SQLITE_OK) { s->base.pMethods = &shim_methods; }
    return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)sync;
    if (disk_fails()) { return SQLITE_IOERR_DELETE; }
    disk_file *f = disk_find(name);
    writes_forget(f);
    image_free(&f->synced);
    return real_vfs->xDelete(real_vfs, name, 0);
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    return disk_fails() ? SQLITE_IOERR_ACCESS : real_vfs->xAccess(real_vfs, name, flags, out);
}

static void shim_register(void)
{
    if (real_vfs != NULL) { return; }
    real_vfs = sqlite3_vfs_find("unix");
    T_REQUIRE(real_vfs != NULL);
    shim = *real_vfs;
    shim.iVersion = 1;
    shim.szOsFile = (int)sizeof(shim_file) + real_vfs->szOsFile;
    shim.zName = "test";
    shim.pNext = NULL;
    shim.xOpen = shim_open;
    shim.xDelete = shim_delete;
    shim.xAccess = shim_access;
    T_REQUIRE(sqlite3_vfs_register(&shim, 1) == SQLITE_OK);
}

/* ---- the pool ---- */

static cellar_pool *p;
static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
static uint32_t queue_cap = 16;

/* Return the size of a file of the journal; 0: there is none. */
static size_t file_bytes(const char *suffix)
{
    char name[2 * T_FOLDER_MAX];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (size_t)st.st_size : 0;
}

/* Return how often a task runs: one is cancelled, some retry once. */
static uint32_t attempts_of(size_t n) { return n == 5 ? 0 : n % 4 == 3 ? 2 : 1; }

static cellar_verdict runs(const cellar_task *t, void *ctx)
{
    const size_t n = (size_t)(*(const char *)t->payload - 'a');
    (void)ctx;
    T_REQUIRE(n < TASKS);
    task_of[n].ran++;
    T_CHECK(!task_of[n].final && !task_of[n].refused);
    return n % 4 == 3 && t->attempt == 1 ? cellar_verdict_retry_after(5) : cellar_verdict_ok();
}

static cellar_err open_pool(cellar_journal_level level)
{
    cellar_host_config host = { .struct_size = sizeof host, .clock = read_mono, .no_threads = 1,
                                .log = hear_nothing };
    cellar_pool_config config = { .struct_size = sizeof config, .host = &host,
                                  .close_timeout_ms = 1, /* of the clock of the system */
                                  .grace_ms = 1, .wall_clock = read_wall, .journal_path = path,
                                  .journal_level = level, .restore_rate = 1000000,
                                  .queue_cap = queue_cap, .dead_cap = 16, .max_names = 4 };
    const cellar_err err = cellar_pool_open(&config, &p);
    if (err == CELLAR_OK) {
        T_EQ_I64(cellar_task_register(p, "t", runs, NULL, NULL), CELLAR_OK);
    }
    return err;
}

static cellar_pool_stats figures(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.requeued + st.restored,
             st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

static bool is_refusal(cellar_err err) { return err == CELLAR_E_IO || err == CELLAR_E_SPACE; }

static cellar_task_id id_of[TASKS];

static void submit(size_t n, int64_t delay_ms)
{
    const char payload = (char)('a' + n);
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = delay_ms };
    const cellar_err err = cellar_task_submit(p, "t", &payload, 1, &o, &id_of[n]);
    T_CHECK(err == CELLAR_OK || (now.failed && is_refusal(err)));
    task_of[n].acknowledged = err == CELLAR_OK;
    task_of[n].refused = err != CELLAR_OK;
}

static void submit_pair(size_t n)
{
    const char payload[2] = { (char)('a' + n), (char)('b' + n) };
    const cellar_task_item items[2] = { { "t", &payload[0], 1, NULL },
                                        { "t", &payload[1], 1, NULL } };
    const cellar_err err = cellar_task_submit_many(p, items, 2, CELLAR_LINKS_NONE, &id_of[n]);
    T_CHECK(err == CELLAR_OK || (now.failed && is_refusal(err)));
    for (size_t i = n; i < n + 2; i++) {
        task_of[i].acknowledged = err == CELLAR_OK;
        task_of[i].refused = err != CELLAR_OK;
    }
}

static void wait_ms(int64_t ms)
{
    mono_ms += ms;
    wall_ms += ms;
}

static void tick(void)
{
    while (cellar_tick(p, ALL_US, NULL) == CELLAR_PENDING) { }
}

/* Let time pass, run what is due, and note which ends are in the file. */
static void pass(int64_t ms)
{
    wait_ms(ms);
    tick();
    for (size_t n = 0; n < TASKS; n++) {
        cellar_task_status st = cellar_task_status_default();
        if (!task_of[n].acknowledged || task_of[n].final) { continue; }
        const cellar_err err = task_status(p, id_of[n], &st);
        task_of[n].final = err == CELLAR_E_NOT_FOUND;
    }
}

static void start(void)
{
    disk_reset();
    mono_ms = 1000000;
    wall_ms = START_MS;
    t_folder(folder);
    snprintf(path, sizeof path, "%s/tasks", folder);
}

/* Open a pool, submit, run, cancel, and close it again; the final states are in the file. */
static void work(cellar_journal_level level)
{
    cellar_err err = open_pool(level);
    if (err != CELLAR_OK) {
        T_CHECK(now.failed && is_refusal(err));
        err = open_pool(level); /* the call failed only once */
        T_REQUIRE(err == CELLAR_OK);
    }
    submit(0, 0);
    submit(1, 0);
    pass(1);
    submit_pair(2);
    submit(4, 10);
    pass(1);
    submit(5, 3600000);
    submit_pair(6);
    if (task_of[5].acknowledged) {
        err = cellar_task_cancel(p, id_of[5]);
        T_CHECK(err == CELLAR_OK || (now.failed && is_refusal(err)));
        task_of[5].final = err == CELLAR_OK;
    }
    submit(8, 0);
    pass(20);
    pass(20);
    for (int i = 0; i < 10 && figures().journal_pending != 0; i++) { pass(1000); }
    T_EQ_U64(figures().journal_pending, 0);
    T_EQ_U64(figures().live, 0);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

/* ---- each call failing once ---- */

static void check_work(void)
{
    for (size_t n = 0; n < TASKS; n++) {
        T_EQ_U64(task_of[n].ran, task_of[n].acknowledged ? attempts_of(n) : 0);
    }
}

/* Nothing is left in the file. */
static void check_empty(cellar_journal_level level)
{
    T_REQUIRE(open_pool(level) == CELLAR_OK);
    T_EQ_U64(figures().restored, 0);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

/* Return the number of disk calls of a life. */
static uint64_t calls_of(void (*life)(cellar_journal_level level), cellar_journal_level level)
{
    start();
    life(level);
    t_wipe(folder);
    T_CHECK(now.calls > 50);
    return now.calls;
}

static void fail_each(cellar_journal_level level, disk_fault fault)
{
    const uint64_t calls = calls_of(work, level), step = t_reduced() ? 4 : 1;
    for (uint64_t n = 1 + t_seed() % step; n <= calls && !t_failed(); n += step) {
        start();
        now.fail_at = n;
        now.fault = fault;
        work(level);
        T_CHECK(now.failed);
        check_work();
        now.fail_at = 0;
        check_empty(level);
        t_wipe(folder);
    }
}

#define SHIM(fn) T_WITHIN(fn, shim_register(), (void)0)

T_CASE_ON(journal_faults, SHIM)
{
    fail_each(CELLAR_JOURNAL_PROCESS, FAULT_IO);
    fail_each(CELLAR_JOURNAL_PROCESS, FAULT_FULL);
    fail_each(CELLAR_JOURNAL_SYNC, FAULT_IO);
    fail_each(CELLAR_JOURNAL_SYNC, FAULT_HALF);
}

/* ---- cuts ---- */

/* Write the files of the cut into a new folder. */
static void restart(void)
{
    static disk_image image[FILES];
    char name[FILES][sizeof disk[0].name];
    for (size_t i = 0; i < FILES; i++) {
        const char *slash = strrchr(disk[i].name, '/');
        image[i] = now.image[i];
        now.image[i] = (disk_image){ NULL, 0, false };
        snprintf(name[i], sizeof name[i], "%s", slash != NULL ? slash : "");
    }
    t_wipe(folder);
    start();
    for (size_t i = 0; i < FILES; i++) {
        char to[3 * T_FOLDER_MAX];
        if (!image[i].exists || name[i][0] == '\0') { continue; }
        snprintf(to, sizeof to, "%s%s", folder, name[i]);
        FILE *f = fopen(to, "wb");
        T_REQUIRE(f != NULL);
        if (image[i].len != 0) { /* bytes NULL: an empty file */
            T_REQUIRE(fwrite(image[i].bytes, 1, image[i].len, f) == image[i].len);
        }
        T_REQUIRE(fclose(f) == 0);
        image_free(&image[i]);
    }
    wait_ms(10000);
}

/* Cut at each call of `life`; then `next` looks at what is left. */
static void cut_each(void (*life)(cellar_journal_level level),
                     void (*next)(cellar_journal_level level, bool exact),
                     cellar_journal_level level, disk_cut how, bool exact)
{
    const uint64_t calls = calls_of(life, level), step = t_reduced() ? 4 : 1;
    for (uint64_t n = 1 + t_seed() % step; n <= calls && !t_failed(); n += step) {
        start();
        now.cut_at = n;
        now.how = how;
        life(level);
        T_CHECK(now.cut);
        restart();
        next(level, exact);
        if (t_failed()) { printf("# level %d, cut %d at call %" PRIu64 "\n", level, how, n); }
        t_wipe(folder);
    }
}

/* Each task that was acknowledged runs, and none after its final state. */
static void work_next(cellar_journal_level level, bool exact)
{
    T_REQUIRE(open_pool(level) == CELLAR_OK);
    for (size_t i = 0; i < TASKS && exact; i++) { task_of[i].final = at_cut[i].final; }
    tick();
    wait_ms(10000);
    tick();
    for (size_t i = 0; i < TASKS && exact; i++) {
        const bool due = at_cut[i].acknowledged && at_cut[i].ran < attempts_of(i);
        T_CHECK(!due || task_of[i].ran != 0);
    }
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

/* ---- a schedule ---- */

static uint32_t firings;

static void fires(const cellar_task *t, void *ctx) { (void)t, (void)ctx; firings++; }

/* Open the pool, add an interval of 10 s, and fire it; a failed call is made again. */
static void schedule(const char *spare)
{
    cellar_schedule_spec o = { .struct_size = sizeof o, .catch_up_on_start = 1,
                               .phase = CELLAR_PHASE_NOW };
    if (open_pool(CELLAR_JOURNAL_SYNC) != CELLAR_OK) {
        T_CHECK(now.failed);
        T_REQUIRE(open_pool(CELLAR_JOURNAL_SYNC) == CELLAR_OK);
    }
    if (schedule_every(p, "e", 10000, fires, NULL, &o) != CELLAR_OK) {
        T_CHECK(now.failed);
        T_EQ_I64(schedule_every(p, "e", 10000, fires, NULL, &o), CELLAR_OK);
    }
    pass(1);
    if (spare != NULL && cellar_schedule_remove(p, spare) != CELLAR_E_NOT_FOUND) {
        T_CHECK(now.failed);
        T_EQ_I64(cellar_schedule_remove(p, spare), CELLAR_E_NOT_FOUND);
    }
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

/* One call fails: the firing runs once, or again after the failed write of its due time. */
T_CASE_ON(schedule_faults, SHIM)
{
    for (uint64_t n = 1; !t_failed(); n++) {
        start();
        firings = 0;
        now.fail_at = n;
        schedule("spare");
        T_EQ_U64(firings, 1);
        now.fail_at = 0;
        schedule(NULL);
        T_CHECK(firings == 1 || (now.failed && firings == 2));
        t_wipe(folder);
        if (!now.failed) { break; }
    }
}

/* ---- messages ---- */

/* Take all messages and end them; the first message is returned once. */
static void consume(void)
{
    const cellar_task *t;
    uint32_t found;
    while (cellar_task_take(p, "q", 60000, 0, &t, 1, &found) == CELLAR_OK && found == 1) {
        const size_t n = (size_t)(*(const char *)t->payload - 'a');
        T_REQUIRE(n < MESSAGES);
        T_CHECK(talk.accepted[n] && !talk.settled[n]);
        talk.seen[n]++;
        const bool returns = n == 0 && t->attempt == 1;
        talk.settles[n] = !returns;
        T_EQ_I64(cellar_task_settle(t, returns ? cellar_verdict_retry() : cellar_verdict_ok()),
                 CELLAR_OK);
    }
}

/* Write the ends of messages; after an error a second time. */
static void write_ends(void)
{
    pass(0);
    if (figures().journal_pending != 0) {
        T_CHECK(now.failed);
        pass(1000);
    }
    T_EQ_U64(figures().journal_pending, 0);
    for (size_t n = 0; n < MESSAGES; n++) { talk.settled[n] = talk.settled[n] || talk.settles[n]; }
}

/* Open a pool, publish up to `count` messages, and consume them; a failed call is made again. */
static void converse(cellar_journal_level level, uint32_t count)
{
    for (int tries = 0; tries < 2 && open_pool(level) != CELLAR_OK; tries++) {
        T_CHECK(now.failed && tries == 0);
    }
    T_EQ_I64(cellar_bus_group_add(p, "q", NULL, NULL, NULL, NULL), CELLAR_OK);
    pass(0); /* restored messages are due */
    for (uint32_t n = 0; n < count; n++) {
        const char body = (char)('a' + n);
        const cellar_err err = bus_send(p, "q", &body, 1, NULL);
        T_CHECK(err == CELLAR_OK || (now.failed && is_refusal(err)));
        talk.accepted[n] = err == CELLAR_OK;
        if (n % 2 == 1) {
            consume();
            write_ends();
        }
    }
    consume();
    write_ends();
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

/* One call fails: each accepted message ends, and none comes back. */
T_CASE_ON(message_faults, SHIM)
{
    for (uint64_t n = 1; !t_failed(); n++) {
        start();
        now.fail_at = n;
        converse(CELLAR_JOURNAL_SYNC, MESSAGES);
        for (uint32_t i = 0; i < MESSAGES; i++) {
            T_EQ_U64(talk.seen[i], talk.accepted[i] ? 1u + (i == 0) : 0u);
        }
        now.fail_at = 0;
        converse(CELLAR_JOURNAL_SYNC, 0);
        t_wipe(folder);
        if (!now.failed) { break; }
    }
}

/* ---- a full volume ---- */

static uint32_t filled_ran, filled_exit_at;

static cellar_verdict fills(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    if (++filled_ran == filled_exit_at) { _exit(0); }
    return cellar_verdict_ok();
}

static void open_to_fill(void)
{
    T_REQUIRE(open_pool(CELLAR_JOURNAL_PROCESS) == CELLAR_OK);
    T_REQUIRE(cellar_task_register(p, "fills", fills, NULL, NULL) == CELLAR_OK);
    filled_ran = filled_exit_at = 0;
}

/* Submit tasks until the volume is full, and end the process in a task. Write the number of
 * submits that were accepted. */
static void fill_and_die(int out)
{
    static const char payload[3000];
    uint32_t accepted_count = 0, refused_count = 0;
    open_to_fill();
    const uint64_t kept = file_bytes("-room");
    while (refused_count < 3) {
        const cellar_err err = cellar_task_submit(p, "fills", payload, sizeof payload, NULL, NULL);
        T_REQUIRE(err == CELLAR_OK || err == CELLAR_E_SPACE);
        accepted_count += err == CELLAR_OK;
        refused_count += err != CELLAR_OK;
    }
    T_REQUIRE(kept > 0 && file_bytes("-room") == kept); /* no submit gets a part of it */
    T_REQUIRE(write(out, &accepted_count, sizeof accepted_count) == sizeof accepted_count);
    filled_exit_at = 100;
    while (cellar_tick(p, 1, NULL) == CELLAR_PENDING) { }
    _exit(1);
}

/* The volume is full after a kill, and stays so: the open finds room, each task runs, and all ends
 * are in the file. */
T_CASE_ON(journal_on_a_full_volume_finds_room, SHIM)
{
    int ends[2], status;
    uint32_t accepted_count = 0;
    start();
    queue_cap = 4096;
    volume_bytes = 6 << 20;
    T_REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) { fill_and_die(ends[1]); }
    T_REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    T_REQUIRE(read(ends[0], &accepted_count, sizeof accepted_count) == sizeof accepted_count);
    T_REQUIRE(close(ends[0]) == 0 && close(ends[1]) == 0);
    T_CHECK(accepted_count > 200);
    volume_bytes = volume_used();
    open_to_fill();
    const uint64_t restored = figures().restored;
    T_CHECK(restored <= accepted_count && restored + 100 >= accepted_count);
    for (int i = 0; i < 20 && (figures().live != 0 || figures().journal_pending != 0); i++) {
        pass(1000);
    }
    T_EQ_U64(filled_ran, restored);
    T_EQ_U64(figures().live, 0);
    T_EQ_U64(figures().journal_pending, 0);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    T_EQ_U64(file_bytes("-wal") + file_bytes("-room"), 0);
    volume_bytes = 0;
    queue_cap = 16;
    t_wipe(folder);
}

/* Submit a task, and one that replaces it while a write finds the disk full. Exit with 0 if the
 * second submit was accepted and no write failed, 1 if one did, 2 if it was refused. */
static void replace_and_die(uint64_t nth)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 1000, .unique_key = "k",
                             .on_conflict = CELLAR_TASK_CONFLICT_REPLACE };
    open_to_fill();
    T_REQUIRE(cellar_task_submit(p, "fills", "a", 1, &o, NULL) == CELLAR_OK);
    now.fault = FAULT_FULL;
    now.fail_at = now.calls + nth;
    const cellar_err err = cellar_task_submit(p, "fills", "b", 1, &o, NULL);
    _exit(err != CELLAR_OK ? 2 : now.failed);
}

/* Fault: an error of the disk wrote the new task alone, and after a kill both ran. */
T_CASE_ON(replaced_task_does_not_run_after_a_kill, SHIM)
{
    int status = 1;
    for (uint64_t nth = 1; status != 0; nth++) {
        start();
        const pid_t child = fork();
        T_REQUIRE(child >= 0 && nth < 200);
        if (child == 0) { replace_and_die(nth); }
        T_REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
        open_to_fill();
        pass(1000);
        if (WEXITSTATUS(status) != 2) { T_EQ_U64(filled_ran, 1); }
        T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
        t_wipe(folder);
    }
}

/* ---- cuts of schedules and messages ---- */

#define FIRINGS 4u
#define EVERY_MS 10000

/* Cut at each call of `life`, once in each way; and `more` times with a part of the writes. */
static void cut_in_each_way(void (*life)(cellar_journal_level level),
                            void (*next)(cellar_journal_level level, bool exact), int more)
{
    base_rng_seed(&rng, t_seed());
    for (disk_cut how = CUT_KEEPS_ALL; how <= CUT_KEEPS_SOME; how++) {
        cut_each(life, next, CELLAR_JOURNAL_SYNC, how, true);
        cut_each(life, next, CELLAR_JOURNAL_PROCESS, how, how == CUT_KEEPS_ALL);
    }
    for (int i = 0; i < more; i++) {
        cut_each(life, next, CELLAR_JOURNAL_SYNC, CUT_KEEPS_SOME, true);
    }
}

/* A run does not happen again if its due time is in the journal. */
static void fires_again(const cellar_task *t, void *ctx)
{
    const size_t n = (size_t)((t->due_wall_ms - START_MS) / EVERY_MS);
    (void)ctx;
    T_REQUIRE(n < FIRINGS);
    T_CHECK(!task_of[n].final);
    task_of[n].ran++;
}

/* Open the pool, add an interval, and let `rounds` instants pass. */
static void recur(cellar_journal_level level, uint32_t rounds)
{
    cellar_schedule_spec o = { .struct_size = sizeof o, .catch_up_on_start = 1,
                               .phase = CELLAR_PHASE_NOW, .coalesce = CELLAR_COALESCE_ALL };
    T_REQUIRE(open_pool(level) == CELLAR_OK);
    T_REQUIRE(schedule_every(p, "e", EVERY_MS, fires_again, NULL, &o) == CELLAR_OK);
    recurs = true;
    for (uint32_t i = 0; i < rounds; i++) {
        if (i != 0) {
            pass(EVERY_MS - 1);
            wait_ms(1);
        }
        pass(0);
        for (size_t n = 0; n < FIRINGS; n++) { task_of[n].final = task_of[n].ran != 0; }
    }
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

static void recur_first(cellar_journal_level level) { recur(level, FIRINGS); }

/* Each instant that was due has run. */
static void recur_next(cellar_journal_level level, bool exact)
{
    mono_ms += (FIRINGS - 1) * EVERY_MS;
    wall_ms = START_MS + FIRINGS * EVERY_MS - 1;
    for (size_t n = 0; n < FIRINGS && exact; n++) { task_of[n].final = at_cut[n].final; }
    recur(level, 1);
    for (size_t n = 0; n < FIRINGS && exact && recurs_at_cut; n++) {
        T_CHECK(at_cut[n].ran + task_of[n].ran >= 1);
        T_CHECK(task_of[n].ran <= 1);
    }
}

T_CASE_ON(schedule_power_cuts, SHIM)
{
    cut_in_each_way(recur_first, recur_next, 0);
}

static void converse_first(cellar_journal_level level) { converse(level, MESSAGES); }

/* Each accepted message without an end in the file comes back, and no other. */
static void converse_next(cellar_journal_level level, bool exact)
{
    for (size_t n = 0; n < MESSAGES; n++) {
        talk.accepted[n] = true; /* or the cut was before the answer */
        talk.settled[n] = exact && talk_at_cut.settled[n];
    }
    converse(level, 0);
    for (size_t n = 0; n < MESSAGES && exact; n++) {
        T_CHECK(talk.settled[n] || talk_at_cut.settles[n] || !talk_at_cut.accepted[n]);
    }
}

T_CASE_ON(message_power_cuts, SHIM)
{
    cut_in_each_way(converse_first, converse_next, 0);
}

T_CASE_ON(journal_power_cuts, SHIM) { cut_in_each_way(work, work_next, 3); }

/* A call of the disk fails in a submit, and the process ends as soon as the submit has returned. */
T_CASE_ON(a_refused_submit_does_not_come_back_after_a_kill, SHIM)
{
    for (uint64_t n = 1; !t_failed(); n++) {
        start();
        T_REQUIRE(open_pool(CELLAR_JOURNAL_SYNC) == CELLAR_OK);
        now.fail_at = now.calls + n;
        submit(0, 0);
        const bool failed = now.failed, refused = task_of[0].refused;
        now.how = CUT_KEEPS_ALL;
        disk_cut_now();
        T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
        restart();
        T_REQUIRE(open_pool(CELLAR_JOURNAL_SYNC) == CELLAR_OK);
        T_EQ_U64(figures().restored, refused ? 0 : 1);
        T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
        t_wipe(folder);
        if (!failed) { break; }
    }
}

T_MAIN("work_journal_faults")
#else
T_CASE(journal_faults) { T_SKIP("this build has no SQLite"); }

T_MAIN("work_journal_faults")
#endif
