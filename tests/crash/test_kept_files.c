/* SPDX-License-Identifier: MIT
 *
 * Aim:    this version opens the files of a release and finds what they hold: a disk tier that was
 *         closed, one of a process that was killed, each with the snapshot of a limiter and a Bloom
 *         filter, and a journal with tasks, messages and a schedule. Files of another format are
 *         refused with a reason and stay as they are.
 * Method: tests/data/0.3/files.txt says what is in tests/data/0.3/files.tar.xz; a case opens a copy.
 *         The same list says what to write: one case writes the files with this version and reads
 *         them. With KEPT_FILES=PATH it stores them there (`make kept-write`).
 *         A disk tier names its data file and the boot, so that a copy of a killed one opens empty.
 *         Those that are kept name neither. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "cellar_bloom.h"
#include "cellar_bus.h"
#include "cellar_invalidate.h"
#include "cellar_kit.h"
#include "cellar_limit.h"
#include "cellar_schedule.h"
#include "l2/segment.h"
#include "tests/support/journal_kit.h"
#include "tests/support/settings.h"

T_ONE_THREAD;

#define KEPT "tests/data/0.3"
#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)
#define UNITS 10u
#define VALUE_MAX 300000u

/* ---- the list ---- */

typedef struct item {
    char kind[12], where[12], name[16], text[24];
    unsigned number;
} item;

static item items[32];
static size_t item_count;

static void list_read(void)
{
    char row[160];
    FILE *f = fopen(KEPT "/files.txt", "r");
    T_REQUIRE(f != NULL);
    item_count = 0;
    while (fgets(row, sizeof row, f) != NULL) {
        item *i = &items[item_count];
        if (row[0] == '#') { continue; }
        T_REQUIRE(item_count < sizeof items / sizeof *items);
        T_REQUIRE(sscanf(row, "%11s %11s %15s %u %23s", i->kind, i->where, i->name, &i->number,
                         i->text) == 5);
        item_count++;
    }
    T_CHECK(item_count > 0);
    T_EQ_I64(fclose(f), 0);
}

static bool is(const item *i, const char *kind) { return strcmp(i->kind, kind) == 0; }
static bool is_value(const item *i)
{
    return is(i, "entry") || is(i, "timed") || is(i, "tagged") || is(i, "deleted");
}

/* ---- folders ---- */

static const char *const parts[] = { "closed", "killed", "journal" };
enum { CLOSED, KILLED, JOURNAL, PARTS };
static char part_path[PARTS][T_FOLDER_MAX + 16];

static void folders_begin(void)
{
    clear();
    begin();
    list_read();
    for (int i = 0; i < PARTS; i++) {
        snprintf(part_path[i], sizeof part_path[i], "%s/%s", folder, parts[i]);
    }
    T_REQUIRE(snprintf(path, sizeof path, "%s/t", part_path[JOURNAL]) < (int)sizeof path);
}

static void folders_end(void)
{
    for (int i = 0; i < PARTS; i++) { t_wipe(part_path[i]); }
    T_EQ_I64(rmdir(folder), 0);
}

static int shell(const char *format, const char *a, const char *b)
{
    char text[3 * T_FOLDER_MAX];
    snprintf(text, sizeof text, format, a, b);
    return system(text);
}

/* Unpack the kept files; return false after a skip. */
static bool unpacked(void)
{
    if (shell("exec >/dev/null 2>&1; tar --version && xz --version", "", "") != 0) {
        T_SKIP("no tar or no xz");
        return false;
    }
    folders_begin();
    T_REQUIRE(shell("xz -dc %s | tar -xf - -C %s", KEPT "/files.tar.xz", folder) == 0);
    return true;
}

/* Return a sum of the names and bytes of the files in a folder. */
static uint64_t sum_of(const char *where)
{
    static const base_hash_key fixed = { { 1, 2, 3, 4 }, BASE_HASH_FOLD, 0 };
    static char bytes[65536];
    char file[2 * T_FOLDER_MAX + 16];
    uint64_t sum = 0;
    DIR *d = opendir(where);
    T_REQUIRE(d != NULL);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.') { continue; }
        snprintf(file, sizeof file, "%s/%s", where, e->d_name);
        FILE *f = fopen(file, "rb");
        T_REQUIRE(f != NULL);
        uint64_t of = base_hash(&fixed, 0, e->d_name, strlen(e->d_name));
        for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;) {
            of = of * 31 + base_hash(&fixed, 0, bytes, n);
        }
        sum += of;
        T_EQ_I64(fclose(f), 0);
    }
    T_EQ_I64(closedir(d), 0);
    return sum;
}

/* ---- disk tiers ---- */

static settings disk_settings(int part)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = (uint64_t)16 << 20,
                     .config.l2_path = part_path[part], .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.sync = CELLAR_L2_SYNC_ALWAYS, .l2.write = CELLAR_L2_WRITE_THROUGH };
    cfg.host = host;
    return cfg;
}

static cellar *c, *users;

static void disk_open(int part)
{
    const cellar_namespace_config o = { .struct_size = sizeof o, .bloom_keys = 1000 };
    const settings cfg = disk_settings(part);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "users", &o, &users) == CELLAR_OK);
}

static void disk_close(void)
{
    T_EQ_I64(cellar_namespace_close(users), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static cellar *space(const item *i) { return strcmp(i->where, "users") == 0 ? users : c; }

static size_t value_of(const item *i, char *to)
{
    const size_t n = strlen(i->text), times = is(i, "entry") ? i->number : 1;
    T_REQUIRE(n * times <= VALUE_MAX);
    for (size_t t = 0; t < times; t++) { memcpy(to + t * n, i->text, n); }
    return n * times;
}

static char value[VALUE_MAX], got[VALUE_MAX];

static void value_write(const item *i)
{
    const cellar_bytes tag = { "kept", 4 };
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = CELLAR_TTL_NONE };
    if (is(i, "timed")) { o.ttl_ms = i->number * DAY; }
    if (is(i, "tagged")) { o.tags = &tag, o.tag_count = 1; }
    cellar *ns = space(i);
    const size_t n = value_of(i, value);
    T_EQ_I64(cellar_set(ns, i->name, strlen(i->name), value, n, &o), CELLAR_OK);
    if (is(i, "deleted")) {
        T_EQ_I64(cellar_delete(ns, i->name, strlen(i->name)), CELLAR_OK);
    }
}

static void value_check(const item *i)
{
    size_t n = 0;
    const size_t want = value_of(i, value);
    const cellar_err err = cellar_get(space(i), i->name, strlen(i->name), got, sizeof got, &n);
    if (is(i, "deleted")) {
        T_EQ_I64(err, CELLAR_MISS);
    } else if (T_CHECK(err == CELLAR_OK && n == want)) {
        T_EQ_MEM(got, value, n);
    } else {
        printf("# %s %s: %s\n", i->where, i->name, cellar_code_name(err));
    }
}

typedef struct keys { unsigned next, end; char key[16]; } keys;

static cellar_err next_key(cellar_bytes *key, void *ctx)
{
    keys *k = ctx;
    if (k->next == k->end) { return CELLAR_MISS; }
    snprintf(k->key, sizeof k->key, "key %u", k->next++);
    *key = (cellar_bytes){ k->key, strlen(k->key) };
    return CELLAR_OK;
}

static void bloom_write(const item *i)
{
    keys all = { 0, i->number, "" };
    T_EQ_I64(cellar_bloom_feed(space(i), next_key, &all, NULL), CELLAR_OK);
}

static void bloom_check(const item *i)
{
    keys all = { 0, 2 * i->number, "" };
    cellar_bytes key;
    unsigned unknown = 0;
    cellar *ns = space(i);
    while (next_key(&key, &all) == CELLAR_OK) {
        const bool found = cellar_bloom_check(ns, key.data, key.len) == CELLAR_OK;
        if (all.next <= i->number) { T_CHECK(found); }
        unknown += !found;
    }
    T_CHECK(unknown > i->number / 2);
}

static uint64_t limit_ns(void *ctx) { (void)ctx; return (uint64_t)mono_ms * 1000000; }
static uint64_t limit_boot(void *ctx) { (void)ctx; return (uint64_t)mono_ms; }
static uint64_t limit_wall(void *ctx) { (void)ctx; return (uint64_t)wall_ms; }

static cellar_limiter *limits_open(cellar_limiter_snapshot **place)
{
    const cellar_rule rule = cellar_rule_token_bucket(UNITS, CELLAR_HOUR_NS, UNITS);
    cellar_limiter_config cfg = cellar_limiter_config_default();
    cellar_limiter *l = NULL;
    cfg.max_bytes = 64u << 10;
    cfg.clock_ns = limit_ns;
    cfg.wall_ms = limit_wall;
    cfg.boot_ms = limit_boot;
    cfg.host = &host;
    T_REQUIRE(cellar_limiter_snapshot_open(c, "limits", &cfg, place) == CELLAR_OK);
    T_REQUIRE(cellar_limiter_open(&cfg, &rule, 1, &l) == CELLAR_OK);
    return l;
}

static void limits_close(cellar_limiter *l, cellar_limiter_snapshot *place)
{
    cellar_limiter_close(l);
    cellar_limiter_snapshot_close(place);
}

static uint64_t units_left(cellar_limiter *l, const item *i)
{
    cellar_limiter_result r = { 0 };
    (void)cellar_limiter_check(l, i->name, strlen(i->name), 0, &r);
    return r.remaining;
}

static void disk_write(int part)
{
    cellar_limiter_snapshot *place;
    disk_open(part);
    cellar_limiter *l = limits_open(&place);
    for (const item *i = items; i < items + item_count; i++) {
        if (is_value(i)) { value_write(i); }
        if (is(i, "bloom")) { bloom_write(i); }
        if (is(i, "limit")) {
            T_EQ_I64(cellar_limiter_check(l, i->name, strlen(i->name), UNITS - i->number, NULL),
                     CELLAR_OK);
        }
    }
    limits_close(l, place);
    T_EQ_I64(cellar_save(c, NULL), CELLAR_OK);
    T_EQ_I64(cellar_sync(c), CELLAR_OK);
    if (part == KILLED) { (void)raise(SIGKILL); }
    disk_close();
}

static void disk_check(int part)
{
    cellar_limiter_snapshot *place;
    disk_open(part);
    cellar_limiter *l = limits_open(&place);
    for (const item *i = items; i < items + item_count; i++) {
        if (is_value(i)) { value_check(i); }
        if (is(i, "bloom")) { bloom_check(i); }
        if (is(i, "limit")) { T_EQ_U64(units_left(l, i), i->number); }
    }
    T_EQ_I64(cellar_delete_by_tag(c, "kept", 4, CELLAR_TAG_HARD), CELLAR_OK);
    for (const item *i = items; i < items + item_count; i++) {
        if (!is(i, "tagged")) { continue; }
        T_EQ_I64(cellar_contains(c, i->name, strlen(i->name)), CELLAR_MISS);
    }
    limits_close(l, place);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    disk_close();
}

/* Change both copies of SUPER. */
static void super_change(int part, void (*change)(l2_super *s))
{
    char file[2 * T_FOLDER_MAX];
    unsigned char page[L2_PAGE];
    l2_super s;
    snprintf(file, sizeof file, "%s/SUPER", part_path[part]);
    const int fd = open(file, O_RDWR);
    T_REQUIRE(fd >= 0);
    for (off_t at = 0; at < 2 * (off_t)L2_PAGE; at += L2_PAGE) {
        T_REQUIRE(pread(fd, page, sizeof page, at) == (ssize_t)sizeof page);
        if (l2_super_read(page, &s) != CELLAR_OK) { continue; }
        change(&s);
        l2_super_write(page, &s);
        T_REQUIRE(pwrite(fd, page, sizeof page, at) == (ssize_t)sizeof page);
    }
    T_EQ_I64(close(fd), 0);
}
static void name_nothing(l2_super *s)
{
    s->inode = 0;
    memset(s->boot_id, 0, sizeof s->boot_id);
}
static void raise_format(l2_super *s) { s->major++; }

/* ---- the journal ---- */

static char heard[1024];
static unsigned job_runs;

static void heard_add(const char *kind, const char *where, const char *name, unsigned number,
                      const void *text, size_t len)
{
    const size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%s %s %s %u %.*s\n", kind, where, name, number, (int)len,
             (const char *)text);
}

static cellar_verdict hear_task(const cellar_task *t, void *ctx)
{
    if (ctx != NULL) { (void)raise(SIGKILL); }
    heard_add("task", t->name, "", t->attempt, t->payload, t->payload_len);
    return cellar_verdict_ok();
}

static cellar_verdict hear_message(const cellar_task *t, void *ctx)
{
    cellar_bus_message m = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_message_of(t, &m), CELLAR_OK);
    heard_add(ctx, m.queue, m.key, m.priority, m.body, m.body_len);
    return cellar_verdict_ok();
}

static cellar_verdict hear_job(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    job_runs++;
    return cellar_verdict_ok();
}

/* Open the journal and name its functions. `dies`: the first task kills the process. */
static void journal_names(bool dies)
{
    static char one[] = "one", two[] = "two", now[] = "now";
    cellar_schedule_spec spec = { .struct_size = sizeof spec, .catch_up_on_start = 1,
                                  .phase = CELLAR_PHASE_NOW, .coalesce = CELLAR_COALESCE_ALL,
                                  .task = "job", .interval_ms = HOUR };
    const cellar_task_opts o = no_jitter(3);
    open_it();
    T_EQ_I64(cellar_task_register(p, "note", hear_task, dies ? now : NULL, &o), CELLAR_OK);
    T_EQ_I64(cellar_task_register(p, "job", hear_job, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_add(p, "queue", "one", hear_message, one, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_add(p, "queue", "two", hear_message, two, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_route(p, "#", "queue", CELLAR_BUS_AMQP, true), CELLAR_OK);
    for (const item *i = items; i < items + item_count; i++) {
        if (is(i, "schedule")) { T_EQ_I64(cellar_schedule_add(p, i->name, &spec), CELLAR_OK); }
    }
}

static void task_write(const item *i, cellar_task_id *before)
{
    const cellar_task_id last = *before;
    cellar_submit_opts o = cellar_submit_opts_default();
    if (strcmp(i->text, "first") == 0) { o.priority = CELLAR_TASK_PRIORITY_MAX; }
    if (strcmp(i->text, "later") == 0) { o.delay_ms = HOUR; }
    if (strcmp(i->text, "after") == 0) { o.after = &last; }
    T_EQ_I64(cellar_task_submit(p, i->where, i->name, strlen(i->name), &o, before), CELLAR_OK);
}

static void journal_write(void)
{
    cellar_task_id before = { 0, 0 };
    T_REQUIRE(mkdir(part_path[JOURNAL], 0700) == 0);
    journal_names(true);
    tick(); /* the first run of the schedule */
    for (const item *i = items; i < items + item_count; i++) {
        cellar_bus_publish_opts o = { .struct_size = sizeof o, .priority = i->number };
        if (is(i, "task")) { task_write(i, &before); }
        if (is(i, "message")) {
            T_EQ_I64(cellar_bus_publish(p, i->name, i->text, strlen(i->text), &o), CELLAR_OK);
        }
    }
    tick();
}

static void heard_check(const char *kind, const item *i)
{
    char want[160];
    if (is(i, "task")) {
        snprintf(want, sizeof want, "task %s  %u %s\n", i->where, i->number, i->name);
    } else {
        snprintf(want, sizeof want, "%s %s %s %u %s\n", kind, i->where, i->name, i->number, i->text);
    }
    char *at = strstr(heard, want);
    if (!T_CHECK(at != NULL)) {
        printf("# wanted: %s", want);
        return;
    }
    memmove(at, at + strlen(want), strlen(at + strlen(want)) + 1);
}

static void journal_check(void)
{
    unsigned runs = 0;
    heard[0] = '\0';
    job_runs = 0;
    mono_ms += 2 * HOUR;
    wall_ms += 2 * HOUR;
    journal_names(false);
    pass(0);
    pass(10000); /* a task that killed its process waits before its next attempt */
    for (const item *i = items; i < items + item_count; i++) {
        if (is(i, "task")) { heard_check("task", i); }
        if (is(i, "message")) { heard_check("one", i), heard_check("two", i); }
        if (is(i, "schedule")) { runs += i->number; }
    }
    T_EQ_STR(heard, "");
    T_EQ_U64(job_runs, runs);
    close_it();
}

/* ---- cases ---- */

static void killed_in(void (*write)(void))
{
    const pid_t child = fork();
    if (child == 0) {
        write();
        _exit(1);
    }
    int status = 0;
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
static void killed_write(void) { disk_write(KILLED); }

T_CASE(files_of_this_version_hold_what_the_list_says)
{
    const char *to = getenv("KEPT_FILES");
    folders_begin();
    disk_write(CLOSED);
    killed_in(killed_write);
    super_change(CLOSED, name_nothing);
    super_change(KILLED, name_nothing);
    if (HAS_SQLITE) { killed_in(journal_write); }
    if (to != NULL) {
        T_REQUIRE(HAS_SQLITE);
        T_REQUIRE(shell("tar -cS --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C %s"
                        " closed killed journal | xz -9e >%s", folder, to) == 0);
    }
    disk_check(CLOSED);
    disk_check(KILLED);
    if (HAS_SQLITE) { journal_check(); }
    folders_end();
}

T_CASE(kept_disk_tier_of_a_close_has_its_entries)
{
    if (!unpacked()) { return; }
    disk_check(CLOSED);
    folders_end();
}

T_CASE(kept_disk_tier_of_a_kill_has_its_entries)
{
    if (!unpacked()) { return; }
    disk_check(KILLED);
    folders_end();
}

T_CASE(kept_journal_has_tasks_messages_and_schedule)
{
    if (without_sqlite() || !unpacked()) { return; }
    journal_check();
    folders_end();
}

T_CASE(disk_tier_of_a_later_format_is_refused_untouched)
{
    if (!unpacked()) { return; }
    for (int part = CLOSED; part <= KILLED; part++) {
        cellar_error_info why = cellar_error_info_default();
        const settings cfg = disk_settings(part);
        super_change(part, raise_format);
        const uint64_t was = sum_of(part_path[part]);
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_NEWER_FORMAT);
        T_EQ_I64(cellar_last_error(NULL, &why), CELLAR_OK);
        T_CHECK(c == NULL && strstr(why.text, "a format of a newer version of cellar") != NULL);
        T_EQ_U64(sum_of(part_path[part]), was);
    }
    folders_end();
}

T_CASE(journal_of_a_later_format_is_refused_untouched)
{
    if (without_sqlite() || !unpacked()) { return; }
    sql("PRAGMA user_version=6");
    const uint64_t was = sum_of(part_path[JOURNAL]);
    said[0] = '\0';
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_NEWER_FORMAT);
    T_CHECK(p == NULL && strstr(said, "another version of the library wrote it") != NULL);
    T_EQ_U64(sum_of(part_path[JOURNAL]), was);
    folders_end();
}

/* Return the sum at the end of a snapshot of one piece: limit/snapshot.c. */
static uint64_t snapshot_sum(const char *bytes, size_t len)
{
    static const base_hash_key fixed = {
        { UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbf58476d1ce4e5b9), UINT64_C(0x94d049bb133111eb),
          UINT64_C(0xd6e8feb86659fd93) }, BASE_HASH_FOLD, 0 };
    const uint64_t h = base_hash(&fixed, 0, bytes, len);
    return base_hash_fold(h, UINT64_C(0x9e3779b97f4a7c15)) + h;
}

T_CASE(snapshot_of_a_later_format_is_refused_untouched)
{
    struct { char magic[8]; uint32_t slot, pieces, version; uint64_t sum; size_t len; } s;
    cellar_limiter_snapshot *place;
    cellar *ns;
    if (!unpacked()) { return; }
    disk_open(CLOSED);
    T_REQUIRE(cellar_namespace_open(c, "limits", NULL, &ns) == CELLAR_OK);
    T_REQUIRE(cellar_get(ns, "head", 4, &s, 16, NULL) == CELLAR_OK && s.pieces == 1);
    const uint32_t key[2] = { s.slot, 0 };
    T_REQUIRE(cellar_get(ns, key, sizeof key, value, sizeof value, &s.len) == CELLAR_OK);
    memcpy(&s.sum, value + s.len - 8, 8);
    T_EQ_U64(snapshot_sum(value, s.len - 8), s.sum);
    memcpy(&s.version, value + 8, 4);
    s.version++;
    memcpy(value + 8, &s.version, 4);
    s.sum = snapshot_sum(value, s.len - 8);
    memcpy(value + s.len - 8, &s.sum, 8);
    T_EQ_I64(cellar_set(ns, key, sizeof key, value, s.len, NULL), CELLAR_OK);
    said[0] = '\0';
    cellar_limiter *l = limits_open(&place);
    T_CHECK(strstr(said, "snapshot unreadable, damaged or of other rules") != NULL);
    T_EQ_I64(cellar_get(ns, key, sizeof key, got, sizeof got, NULL), CELLAR_OK);
    T_EQ_MEM(got, value, s.len);
    limits_close(l, place);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    disk_close();
    folders_end();
}

T_MAIN("kept_files")
