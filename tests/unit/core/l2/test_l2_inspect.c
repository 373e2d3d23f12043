/* SPDX-License-Identifier: MIT
 *
 * Aim:    inspect changes no byte. Its live records are exactly those that the next open serves,
 *         with length and remaining TTL. It reports damage, and leftovers of a process death are
 *         none.
 * Method: a tiny store with a history, closed or killed, its files damaged in every way. Each is
 *         inspected with all records, compared byte by byte with itself, then opened; every key
 *         is read. INSPECT_MUTANTS=n: more mixtures. */
#include "cli/directory.c"
#include "cli/layer.c"
#include "l2/segment.h"
#include "tests/support/l2_kit.h"

#define KEYS 60u
#define SEGMENTS 12u

static l2_dev dev, hurt, before;
static l2_kit kit;
static uint32_t generation;
static base_rng rng;

static void store(uint32_t key, uint32_t version, int64_t ttl_ms)
{
    unsigned char buf[512];
    const size_t n = 8 + (key * 131 + version * 37) % 300;
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    const l2_meta m = { .deadline_ms = ttl_ms == 0 ? BASE_NEVER_MS : kit.now_ms + ttl_ms,
                        .user_flags = version };
    l2_invalidate(kit.d, &id);
    if (version == 0) { return; }
    memset(buf, (int)(key + version), n);
    T_EQ_I64(l2_put(kit.d, &id, buf, n, &m, NULL), CELLAR_OK);
    while (l2_tick(kit.d, 1000)) {}
}

static void build(bool closed)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = SEGMENTS;
    kit.cfg.bytes = (uint64_t)SEGMENTS * L2_KIT_SEG;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_namespace v = { 1, 5, 1 };
    generation = 5;
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1, NULL), CELLAR_OK);
    for (uint32_t i = 0; i < 900; i++) { store(i % KEYS, i + 1, 0); }
    v.generation = generation = 6;
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0, NULL), CELLAR_OK); /* cleared */
    for (uint32_t i = 0; i < 1500; i++) { store((i * 7) % KEYS, i + 2000, i % 3 == 0 ? 50000 : 0); }
    for (uint32_t i = 0; i < KEYS; i += 5) { store(i, 0, 0); } /* deleted */
    for (uint32_t i = 1; i < KEYS; i += 9) { store(i, 9000 + i, 1000); } /* expires soon */
    kit.now_ms += 2000;
    if (closed) {
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
}

/* ---- findings ---- */

typedef struct seen {
    uint64_t len[KEYS];
    int64_t left_ms[KEYS];
    uint32_t times[KEYS], odd;
} seen;

static void on_record(void *ctx, const directory_record *r)
{
    seen *s = ctx;
    uint32_t key = KEYS;
    if (r->key_len == sizeof key) { memcpy(&key, r->key, sizeof key); }
    if (key >= KEYS || r->namespace_len != 1 || r->namespace[0] != 'v') {
        s->odd++;
        return;
    }
    s->len[key] = r->value_len;
    s->left_ms[key] = r->left_ms;
    s->times[key]++;
}

static cellar_err look(bool verify, seen *s, directory_report *out)
{
    base_vfs vfs = l2_dev_vfs(&hurt);
    int sys_errno;
    memset(s, 0, sizeof *s);
    const directory_how how = { .path = "d", .verify = verify, .record = verify ? on_record : NULL,
                                .ctx = s, .vfs = &vfs, .clock = &kit.clock, .wall_ms = l2_kit_wall,
                                .wall_ctx = &kit };
    return directory_inspect(&how, out, &sys_errno);
}

static bool same_bytes(const l2_dev *a, const l2_dev *b)
{
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *x = &a->file[i], *y = &b->file[i];
        if (memcmp(x->name, y->name, sizeof x->name) != 0 || x->size != y->size ||
            x->writes != y->writes || (x->size > 0 && memcmp(x->live, y->live, x->size) != 0)) {
            return false;
        }
    }
    return true;
}

/* Inspect, compare with the files before, open, and compare with what is served. */
static bool inspect_and_open(directory_report *out)
{
    seen s;
    l2_dev_clone(&hurt, &before, NULL);
    const cellar_err err = look(true, &s, out);
    T_CHECK(same_bytes(&hurt, &before));
    l2_kit k;
    l2_kit_init(&k, &hurt);
    k.now_ms = kit.now_ms;
    const cellar_err opened = l2_kit_open(&k);
    T_EQ_I64(err, opened);
    if (opened != CELLAR_OK || err != CELLAR_OK) { return false; }
    l2_namespace v = { 0, 0, 0 };
    const bool known = l2_namespace_find(k.d, "v", 1, &v);
    uint64_t live = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        unsigned char buf[512];
        size_t len = 0;
        l2_meta m;
        const l2_key id = l2_kit_key(&k, &key, sizeof key, (uint32_t)v.generation);
        k.d->health.damaged = 0; /* keep the tier on, however many records are damaged */
        const cellar_err got = known ? l2_get(k.d, &id, buf, sizeof buf, &len, &m) : CELLAR_MISS;
        T_EQ_U64(s.times[key], got == CELLAR_OK ? 1 : 0);
        live += s.times[key];
        if (got != CELLAR_OK || s.times[key] == 0) { continue; }
        T_EQ_U64(s.len[key], len);
        T_EQ_I64(s.left_ms[key], m.deadline_ms == BASE_NEVER_MS ? -1 : m.deadline_ms - k.now_ms);
    }
    T_EQ_U64(s.odd, 0);
    T_EQ_U64(out->live, live);
    l2_kit_kill(&k);
    return true;
}

/* ---- cases ---- */

static void end(void)
{
    l2_dev_fini(&dev);
    l2_dev_fini(&hurt);
    l2_dev_fini(&before);
}

static void begin(bool closed)
{
    build(closed);
    l2_dev_init(&hurt);
    l2_dev_init(&before);
    l2_dev_clone(&dev, &hurt, NULL);
    base_rng_seed(&rng, t_.seed);
}

T_CASE(inspect_of_a_closed_or_killed_store_reports_its_contents)
{
    for (int closed = 0; closed < 2; closed++) {
        directory_report r;
        seen s;
        begin(closed != 0);
        T_REQUIRE(inspect_and_open(&r));
        T_EQ_U64(directory_damage(&r), 0);
        T_CHECK(r.clean == (closed != 0) && !r.begins_anew && r.namespaces == 1 && r.live > KEYS / 2);
        T_CHECK(r.expired > 0 && r.tombstones > 0);
        T_CHECK(r.segments >= 2 && r.segments <= SEGMENTS && r.places_sealed > 0);
        T_EQ_U64(r.seg_bytes, L2_KIT_SEG);
        T_EQ_U64(r.seg_count, SEGMENTS);
        const uint64_t live = r.live, bytes = r.live_bytes + r.dead_bytes, records = r.records;
        l2_dev_clone(&dev, &hurt, NULL);
        T_EQ_I64(look(false, &s, &r), CELLAR_OK);
        T_EQ_U64(r.records, records);
        T_EQ_U64(r.live_bytes + r.dead_bytes, bytes);
        T_CHECK(r.live >= live); /* a row has no time */
        end();
    }
}

T_CASE(another_boot_begins_empty_unless_clean)
{
    directory_report r;
    for (int closed = 0; closed < 2; closed++) {
        begin(closed != 0);
        hurt.boot[15]++;
        T_REQUIRE(inspect_and_open(&r));
        T_CHECK(r.begins_anew == (closed == 0));
        T_CHECK((r.live > 0) == (closed != 0));
        end();
    }
}

/* A flipped bit of a value on disk is one damaged record and nothing else. In the newest segment
 * the open takes the rows in place of the records. */
T_CASE(a_flipped_bit_of_a_value_is_one_damaged_record)
{
    directory_report r;
    uint32_t told = 0;
    begin(true);
    l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    for (uint32_t i = 0; i < 300 && !t_failed(); i++) {
        l2_dev_clone(&dev, &hurt, NULL);
        const size_t at = (size_t)base_rng_below(&rng, f->size);
        if (at % L2_KIT_SEG < L2_HEAD_BYTES || at % L2_KIT_SEG >= L2_KIT_SEG - 2 * L2_PAGE) {
            continue;
        }
        l2_dev_find(&hurt, "data.seg")->live[at] ^= (unsigned char)(1u << (i % 8));
        T_REQUIRE(inspect_and_open(&r));
        T_CHECK(directory_damage(&r) == r.records_damaged + r.holes + r.pages_healed);
        /* Of a control: the record, and the hole that it leaves. */
        T_CHECK(r.records_damaged <= 1 && r.holes <= 1 && r.pages_healed <= 1);
        told += r.records_damaged == 1;
    }
    T_CHECK(told > 15); /* about 60 */
    end();
}

/* Killed during a stall: some changes are in no log. */
T_CASE(inspect_reports_a_stall_marker)
{
    directory_report r;
    begin(false);
    dev.dir_ino = 7;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_EQ_I64(kit.vfs.bell(kit.vfs.ctx, kit.d->marker_id, BASE_VFS_BELL_MAKE), 0);
    l2_kit_kill(&kit);
    l2_dev_clone(&dev, &hurt, NULL);
    T_REQUIRE(inspect_and_open(&r));
    T_CHECK(r.begins_anew);
    T_EQ_U64(r.live, 0);
    end();
}

/* Killed while the log lies in two files, and while data.new has it and is not renamed yet. */
T_CASE(inspect_reads_a_store_that_changes_its_size)
{
    directory_report r;
    for (int done = 0; done < 2; done++) {
        begin(true);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        kit.d->goal = (l2_goal){ .bytes = 16 * L2_KIT_SEG, .nseg = 16, .on = true };
        while (kit.d->super.change == L2_CHANGE_NONE) { (void)l2_tick(kit.d, 0); }
        dev.fail_site = DEV_RENAME;
        dev.fail_errno = EIO;
        dev.fail_at = 1;
        while (done != 0 && kit.d->super.change == L2_CHANGE_RUNS) { (void)l2_tick(kit.d, 0); }
        dev.fail_at = 0;
        l2_kit_kill(&kit);
        l2_dev_clone(&dev, &hurt, NULL);
        T_CHECK(l2_dev_find(&hurt, "data.new") != NULL);
        T_REQUIRE(inspect_and_open(&r));
        T_EQ_U64(directory_damage(&r), 0);
        T_CHECK(r.live > KEYS / 2 && r.seg_count == 16);
        end();
    }
}

/* SUPER names 2^31 segments; the file has 12. Reading them all takes minutes. */
T_CASE(inspect_reads_no_segment_behind_the_end_of_the_file)
{
    directory_report r;
    seen s;
    l2_super made;
    begin(true);
    l2_dev_clone(&dev, &hurt, NULL);
    unsigned char *super = l2_dev_find(&hurt, "SUPER")->live;
    for (size_t i = 0; i < 2; i++) {
        T_EQ_I64(l2_super_read(super + i * L2_PAGE, &made), CELLAR_OK);
        made.nseg = UINT32_MAX / 2;
        l2_super_write(super + i * L2_PAGE, &made);
    }
    (void)look(true, &s, &r);
    T_CHECK(hurt.calls[DEV_PREAD] < 1000);
    end();
}

static l2_dev_file *any_file(void)
{
    for (;;) {
        l2_dev_file *f = &hurt.file[base_rng_below(&rng, DEV_FILES)];
        if (f->name[0] != '\0' && f->size > 0) { return f; }
    }
}

static void mixtures(bool closed)
{
    uint64_t damaged = 0, refused = 0;
    begin(closed);
    const uint64_t most = t_env_u64("INSPECT_MUTANTS", 120);
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        directory_report r;
        base_rng_seed(&rng, t_.seed + i);
        l2_dev_clone(&dev, &hurt, NULL);
        l2_dev_file *f = any_file();
        const size_t a = (size_t)base_rng_below(&rng, f->size);
        switch (base_rng_below(&rng, 4)) {
        case 0: f->size = a; break; /* truncated */
        case 1: {
            const size_t n = (size_t)1 + (size_t)base_rng_below(&rng, 5000); /* drawn once */
            memset(f->live + a, (int)base_rng_below(&rng, 256), BASE_MIN(f->size - a, n));
            break;
        }
        default:
            for (uint64_t n = 1 + base_rng_below(&rng, 20); n > 0; n--) {
                const uint64_t bit = base_rng_below(&rng, f->size * 8);
                f->live[bit / 8] ^= (unsigned char)(1u << (bit % 8));
            }
            break;
        }
        memset(&r, 0, sizeof r);
        if (!inspect_and_open(&r)) { refused++; }
        damaged += directory_damage(&r) > 0;
        if (t_failed()) { printf("# mutant %" PRIu64 " of %s\n", i, f->name); }
    }
    printf("# %" PRIu64 " mutants: %" PRIu64 " reported as damaged, %" PRIu64 " refused\n", most,
           damaged, refused);
    T_CHECK(damaged > most / 5);
    end();
}

T_CASE(live_records_of_a_damaged_closed_store_are_those_served) { mixtures(true); }
T_CASE(live_records_of_a_damaged_killed_store_are_those_served) { mixtures(false); }

T_ONE_THREAD;
T_MAIN("directory_inspect")
