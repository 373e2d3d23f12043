/* SPDX-License-Identifier: MIT
 *
 * Aim:    a long value that is read part by part is served byte by byte or missed as a whole, after
 *         failed and short reads. Nothing is copied into a buffer that is too small. The disk reads
 *         ahead what memory lacks.
 * Method: stores of 12 segments of 1 MiB on an in-memory disk. The read function of the disk counts
 *         reads of data.seg and fails at the n-th one. Changes between parts, packed
 *         and sealed ones: test_l2_values. */
#include "tests/support/l2_kit.h"

#define LONG ((size_t)270000)
#define MOST ((size_t)300000)
#define KEY "the key"
#define GENERATION 7u
#define SEG_BYTES ((uint32_t)1 << 20)

static l2_dev dev;
static l2_kit kit;
static unsigned char value[MOST], got[MOST + 1];
static uint32_t reads;          /* of data.seg since the last `watch` */
static uint32_t fail_at;        /* this read fails; 0: none */
static int read_errno;          /* of the read fail_at */
static size_t read_bytes;       /* of data.seg */
static uint32_t lasting;        /* reads from fail_at on that fail */
static uint64_t memory_from;    /* offset of the first part in data.seg */

static int watched_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off,
                         size_t *done)
{
    const bool data = kit.d != NULL && l2_is_ring(kit.d, f);
    reads += data;
    read_bytes += data ? n : 0;
    const uint32_t now = reads;
    if (data && read_errno != 0 && now >= fail_at && now < fail_at + lasting) {
        *done = 0;
        return read_errno;
    }
    return l2_dev_pread(ctx, f, buf, n, off, done);
}

static void watch(uint32_t at)
{
    reads = 0;
    fail_at = at;
    read_errno = 0;
}

static void open_it(void) { dev.locked = false; T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); }

static void begin(void)
{
    l2_dev_init(&dev);
    dev.flat = true;
    l2_kit_init(&kit, &dev);
    kit.vfs.pread = watched_pread;
    kit.cfg.seg_count = 12;
    kit.cfg.seg_bytes = SEG_BYTES;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.avg_object_bytes = 65536; /* a small index */
    kit.cfg.off_damaged_pct = 100;
    kit.cfg.off_errors = 60;
    watch(0);
    open_it();
}

static void end(void) { watch(0); l2_kit_end(&kit, &dev); }

#define STORE(fn) T_WITHIN(fn, begin(), end())

static void fill(uint32_t version, size_t n)
{
    base_rng r;
    base_rng_seed(&r, version);
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t word = base_rng_next(&r);
        memcpy(value + i, &word, BASE_MIN(n - i, (size_t)8));
    }
}

static l2_key key_of(const char *name) { return l2_kit_key(&kit, name, strlen(name), GENERATION); }

static void put(const char *name, uint32_t version, size_t n)
{
    const l2_key k = key_of(name);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
    fill(version, n);
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; i < 100 && err == CELLAR_DROPPED; i++) {
        err = l2_put(kit.d, &k, value, n, &m, NULL);
        while (l2_tick(kit.d, 1000)) {}
    }
    T_EQ_I64(err, CELLAR_OK);
}

/* Put the value. It is not in the buffer then. */
static void put_on_disk(void)
{
    memory_from = base_load_acq(&kit.d->tail);
    put(KEY, 1, LONG);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
}

static bool unknown; /* the last look read nothing */

/* Return the version that is served, whole and right; 0: none. */
static uint32_t look_at(const char *name, size_t n)
{
    size_t len = 0;
    l2_meta m;
    const l2_key k = key_of(name);
    memset(got, 0xa5, sizeof got);
    const cellar_err err = l2_get(kit.d, &k, got, n, &len, &m);
    T_EQ_U64(got[n], 0xa5);
    unknown = err == CELLAR_E_TIMEOUT;
    if (err == CELLAR_MISS || unknown) { return 0; }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(len, n);
    fill(m.user_flags, n);
    T_CHECK(memcmp(got, value, n) == 0);
    return m.user_flags;
}

static uint32_t look(void) { return look_at(KEY, LONG); }

/* Return the reads of data.seg that a get of the value takes. */
static uint32_t reads_of_a_get(void)
{
    watch(0);
    T_EQ_U64(look(), 1);
    T_CHECK(reads > 1); /* otherwise no part is tested */
    return reads;
}

/* ---- hits ---- */

T_CASE(values_of_any_length_are_served)
{
    static const uint32_t edge[] = { 32768, 4100, 100000, 262144 };
    char long_key[5000];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    begin();
    for (uint32_t i = 0; i < sizeof edge / sizeof edge[0]; i++) {
        for (uint32_t less = 0; less < 200; less += 1 + less % 3 * 13) {
            char name[20];
            snprintf(name, sizeof name, "%u less %u", edge[i], less);
            put(name, 1 + less, edge[i] + 100 - less);
            for (int n = 0; n < 4 && less % 27 == 0; n++) { put("other", 1, LONG); }
            T_EQ_U64(look_at(name, edge[i] + 100 - less), 1 + less);
        }
    }
    put(long_key, 5, LONG);
    for (int i = 0; i < 4; i++) { put("other", 1, LONG); }
    T_EQ_U64(look_at(long_key, LONG), 5);
    end();
}

static size_t in_memory;     /* bytes from there on that reads without a wait find */

static size_t pread_now(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off)
{
    size_t done = 0;
    if (off - memory_from >= in_memory) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, in_memory - (off - memory_from));
    return l2_dev_pread(ctx, f, buf, n, off, &done) == 0 ? done : 0;
}

/* The disk is asked to read ahead only for the bytes that memory lacks. */
T_CASE_ON(long_value_in_memory_requests_nothing_of_the_disk, STORE)
{
    const size_t some[] = { 0, 3000, 100000, LONG / 2, SIZE_MAX };
    put_on_disk();
    kit.vfs.pread_now = pread_now;
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        const uint64_t aheads = dev.aheads;
        in_memory = some[i];
        T_EQ_U64(look(), 1);
        T_EQ_I64(dev.aheads == aheads, some[i] == SIZE_MAX);
    }
}

T_CASE_ON(long_value_is_served_by_a_disk_that_reads_nothing_ahead, STORE)
{
    put_on_disk();
    kit.vfs.ahead = NULL;
    T_EQ_U64(look(), 1);
}

/* A read of another thread has not ended for long. */
T_CASE_ON(read_beside_a_stall_serves_what_memory_has, STORE)
{
    put_on_disk();
    kit.vfs.pread_now = pread_now;
    watch(0);
    base_store_rlx(&kit.d->read_ns, (uint64_t)1); /* 1 ns after the boot */
    base_store_rlx(&kit.d->reads_out, 1u);
    in_memory = SIZE_MAX;
    T_EQ_U64(look(), 1);
    in_memory = LONG / 2;
    T_EQ_U64(look(), 0);
    T_CHECK(unknown);
    T_EQ_U64(reads, 0);
    base_store_rlx(&kit.d->reads_out, 0u);
    in_memory = 0;
    T_EQ_U64(look(), 1);
}

T_CASE_ON(too_small_buffer_is_left_alone, STORE)
{
    put_on_disk();
    const l2_key k = key_of(KEY);
    for (size_t cap = 0; cap < LONG; cap += LONG - 1) {
        size_t len = 0;
        l2_meta m;
        memset(got, 0xa5, sizeof got);
        T_EQ_I64(l2_get(kit.d, &k, got, cap, &len, &m), CELLAR_E_BUFFER);
        T_EQ_U64(len, LONG);
        T_EQ_U64(m.user_flags, 1);
        for (size_t i = 0; i < sizeof got; i++) {
            if (!T_EQ_U64(got[i], 0xa5)) { break; }
        }
    }
}

/* A range reads the parts that it touches, and a part that is lost elsewhere does not matter. */
T_CASE_ON(range_of_a_value_above_256_kib_reads_one_part, STORE)
{
    const size_t at = MOST / 2;
    size_t total = 0;
    l2_meta m;
    put("whole", 1, (size_t)250 << 10);
    T_EQ_U64(l2_kit_figures(&kit).parts, 0);
    put(KEY, 1, MOST);
    T_EQ_U64(l2_kit_figures(&kit).parts, 5);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    fill(1, MOST);
    const l2_key k = key_of(KEY);
    watch(0);
    read_bytes = 0;
    T_EQ_I64(l2_get_range(kit.d, &k, at, got, 4096, &total, &m), CELLAR_OK);
    T_CHECK(memcmp(got, value + at, 4096) == 0);
    T_CHECK(read_bytes < 80000);
    unsigned char first[18] = { 0 }; /* key of part 0: number, hash48, index */
    const uint64_t h48 = l2_h48(k.hash);
    memcpy(first, &m.part_id, 8);
    memcpy(first + 8, &h48, 6);
    const l2_key part = l2_kit_key(&kit, first, sizeof first, 0);
    l2_invalidate(kit.d, &part);
    T_EQ_U64(look_at(KEY, MOST), 0);
    T_EQ_I64(l2_get_range(kit.d, &k, at, got, 4096, &total, &m), CELLAR_OK);
    T_CHECK(memcmp(got, value + at, 4096) == 0);
}

/* ---- faults ---- */

T_CASE_ON(failed_read_of_a_part_is_unknown, STORE)
{
    static const int error[] = { EIO, EINTR };
    put_on_disk();
    const uint32_t n = reads_of_a_get();
    for (int e = 0; e < 2; e++) {
        for (uint32_t i = 1; i <= n; i++) {
            for (uint32_t times = 1; times < 2000; times *= 1000) { /* EINTR: continued 64 times */
                const bool goes_on = e == 1 && times == 1;
                watch(i);
                read_errno = error[e];
                lasting = times;
                T_EQ_U64(look(), goes_on ? 1 : 0);
                T_EQ_I64(unknown, !goes_on);
                watch(0);
                T_EQ_U64(look(), 1);
            }
        }
    }
    T_EQ_U64(l2_kit_figures(&kit).io_errors, 2 * n); /* each EIO is reported once */
}

T_CASE_ON(short_read_of_a_part_is_continued, STORE)
{
    put_on_disk();
    const uint32_t n = reads_of_a_get();
    for (uint32_t i = 1; i <= n; i++) {
        dev.fail_site = DEV_PREAD;
        dev.fail_errno = -1; /* half of the bytes */
        dev.fail_at = i;
        watch(0);
        T_EQ_U64(look(), 1);
        T_EQ_U64(reads, n + 1);
    }
}

T_ONE_THREAD;
T_MAIN("l2_long_reads")
