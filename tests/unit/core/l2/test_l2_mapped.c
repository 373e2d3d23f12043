/* SPDX-License-Identifier: MIT
 *
 * Aim:    a read through a mapping of data.seg returns the same records as a read by a call. That
 *         holds if the file is reclaimed, damaged, resized, truncated by another program, or
 *         failing. If it cannot be mapped, the store works without a mapping.
 * Method: small stores on an in-memory disk that counts calls, and on real files that
 *         truncate(2) cuts during two readers. A disk that fails only below the mapping is a
 *         mapping of an empty file. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KEYS 400u
#define GENERATION L2_KIT_GENERATION

static l2_dev dev;
static l2_kit kit;
static char folder[T_FOLDER_MAX], data[T_FOLDER_MAX + 20];

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void set_up(l2_dev *on, uint32_t places)
{
    l2_kit_init(&kit, on);
    kit.cfg.seg_count = places;
    kit.cfg.memory_bytes = 4 << 20;
    kit.cfg.avg_object_bytes = 100;
    kit.cfg.sigbus = kit.cfg.mmap_read = true;
}

static void begin(uint32_t places)
{
    l2_dev_init(&dev);
    set_up(&dev, places);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void begin_on_files(uint32_t places)
{
    t_folder(folder);
    snprintf(data, sizeof data, "%s/data.seg", folder);
    set_up(NULL, places);
    kit.cfg.path = folder;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void end_on_files(void)
{
    l2_close(kit.d);
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    t_wipe(folder);
}

static void work(void)
{
    while (l2_tick(kit.d, 1000)) {}
}

static void fill(uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        T_EQ_I64(l2_kit_put(&kit, i, 1 + i % 3, GENERATION), CELLAR_OK);
        work();
    }
}

/* Check all served values. Return their number. */
static uint32_t served(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = l2_kit_look(&kit, i, GENERATION);
        T_CHECK(got == 0 || got == 1 + i % 3);
        n += got != 0;
    }
    return n;
}

/* ---- on an in-memory disk ---- */

T_CASE(recently_read_pages_need_no_call)
{
    begin(30);
    T_EQ_U64(kit.d->mapped.bytes, 30 * 16384);
    fill(0, KEYS);
    const uint32_t calls = dev.calls[DEV_PREAD], all = served();
    T_EQ_U64(all, KEYS);
    const uint32_t first = dev.calls[DEV_PREAD] - calls;
    const uint64_t staged = KEYS - first - kit.d->mapped.done;
    T_CHECK(first > 0 && first < KEYS);
    for (int round = 0; round < 3; round++) {
        const uint64_t mapped = kit.d->mapped.done;
        T_EQ_U64(served(), KEYS);
        T_EQ_U64(dev.calls[DEV_PREAD], calls + first);
        T_EQ_U64(kit.d->mapped.done - mapped, KEYS - staged);
    }
    T_EQ_U64(l2_kit_figures(&kit).mapped_reads, kit.d->mapped.done);
    kit.now_ms += 3999;
    work();
    T_EQ_U64(served(), KEYS);
    T_EQ_U64(dev.calls[DEV_PREAD], calls + first);
    kit.now_ms += 1; /* it may have left the page cache by now */
    work();
    T_EQ_U64(served(), KEYS);
    T_CHECK(dev.calls[DEV_PREAD] >= calls + first + first / 2);
    l2_kit_end(&kit, &dev);
}

T_CASE(damaged_bytes_in_the_mapping_miss)
{
    begin(30);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    T_EQ_U64(served(), KEYS); /* from the mapping */
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    const uint32_t calls = dev.calls[DEV_PREAD];
    for (size_t n = 0; n < 5; n++) { f->live[n * 16384 + 5000] ^= 4; }
    const uint32_t left = served();
    T_EQ_U64(left, KEYS - 5);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, KEYS - left);
    T_EQ_U64(dev.calls[DEV_PREAD], calls + 5); /* one more each, past the page cache */
    T_EQ_U64(l2_kit_figures(&kit).reread, 5);
    l2_kit_end(&kit, &dev);
}

T_CASE(reused_places_serve_their_new_records)
{
    begin(8);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            l2_kit_del(&kit, i);
            T_EQ_I64(l2_kit_put(&kit, i, 1 + round, GENERATION), CELLAR_OK);
            work();
            for (uint32_t n = 0; n < 3; n++) { /* from the second one on from the mapping */
                const uint32_t other = (i + KEYS - n * 17) % KEYS;
                const uint32_t got = l2_kit_look(&kit, other, GENERATION);
                T_CHECK(got == 0 || got == (other <= i ? 1 + round : round));
            }
        }
    }
    T_CHECK(l2_kit_figures(&kit).mapped_reads > 500);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    l2_kit_end(&kit, &dev);
}

T_CASE(reads_are_right_before_and_after_a_resize)
{
    begin(40);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    T_EQ_I64(l2_resize_to(kit.d, 12, 1), CELLAR_OK);
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 12);
    const uint32_t left = served();
    const uint64_t mapped = kit.d->mapped.done;
    T_EQ_U64(served(), left);
    T_CHECK(kit.d->mapped.done > mapped);
    T_EQ_I64(l2_resize_to(kit.d, 40, 2), CELLAR_OK);
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 40); /* as many as were mapped at the open */
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    l2_kit_end(&kit, &dev);
}

/* ---- files that cannot be mapped ---- */

static size_t map_limit; /* of addresses, like RLIMIT_AS or 32 bits */

static int map_some(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    return bytes > map_limit ? ENOMEM : l2_dev_map_read(ctx, f, bytes, out);
}

T_CASE(short_of_addresses_the_store_maps_less_or_nothing)
{
    for (map_limit = 0; map_limit <= 40 * 16384; map_limit += 5 * 16384) {
        l2_dev_init(&dev);
        set_up(&dev, 30);
        kit.vfs.map_read = map_some;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        l2_kit_warm(&kit);
        const size_t got = kit.d->mapped.bytes;
        T_CHECK(got <= map_limit && got % 16384 == 0);
        T_CHECK(got * 2 + 16384 >= BASE_MIN(map_limit, (size_t)30 * 16384));
        T_EQ_U64(l2_kit_figures(&kit).mapped_bytes, got);
        fill(0, KEYS);
        T_EQ_U64(served(), KEYS);
        T_EQ_U64(served(), KEYS); /* from both sides */
        T_EQ_I64(kit.d->mapped.done > 0, got > 0);
        l2_kit_end(&kit, &dev);
    }
}

T_CASE(the_mapping_is_bounded_by_memory_and_charged)
{
    uint64_t used[2];
    for (int on = 0; on < 2; on++) {
        l2_dev_init(&dev);
        set_up(&dev, 200);
        kit.cfg.memory_bytes = 256 << 10;
        kit.cfg.mmap_read = on != 0;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        used[on] = base_load_rlx(&kit.account.used);
        T_EQ_U64(kit.d->mapped.bytes, on != 0 ? 8 * (256 << 10) : 0);
        l2_kit_end(&kit, &dev);
    }
    const uint64_t takes = used[1] - used[0], least = 4096 + (2 << 20) / 32768;
    T_CHECK(takes >= least && takes < least + 64); /* page tables, bits, their own head */
    /* Without memory for that there is no mapping. */
    l2_dev_init(&dev);
    set_up(&dev, 200);
    kit.cfg.memory_bytes = 256 << 10;
    kit.cfg.mmap_read = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    kit.d->cfg.mmap_read = true;
    base_store_rlx(&kit.account.limit, used[0] + least - 100);
    l2_map_open(kit.d, 0);
    T_EQ_U64(kit.d->mapped.bytes, 0);
    T_EQ_U64(l2_kit_figures(&kit).mapped_bytes, 0);
    l2_kit_end(&kit, &dev);
}

/* ---- real files ---- */

static const base_vfs *system_vfs;
static base_vfs wrapped;

/* Map an empty file: every page is missing, whatever data.seg has. */
static int map_nothing(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    char path[T_FOLDER_MAX + 20];
    (void)ctx;
    (void)f;
    snprintf(path, sizeof path, "%s/empty", folder);
    const int fd = open(path, O_RDWR | O_CREAT, 0600);
    T_REQUIRE(fd >= 0);
    *out = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    T_REQUIRE(*out != MAP_FAILED && unlink(path) == 0 && close(fd) == 0);
    return 0;
}

T_CASE(after_a_mapping_fails_gets_read_the_file)
{
    system_vfs = base_vfs_system();
    wrapped = *system_vfs;
    wrapped.map_read = map_nothing;
    t_folder(folder);
    set_up(NULL, 30);
    kit.cfg.path = folder;
    kit.cfg.vfs = &wrapped;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    fill(0, KEYS);
    T_EQ_U64(l2_kit_figures(&kit).mapped_bytes, 30 * 16384);
    for (int round = 0; round < 3; round++) { T_EQ_U64(served(), KEYS); } /* no miss */
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.mapped_bytes, 0);
    T_EQ_U64(st.mapped_reads, 1);
    T_EQ_U64(st.miss_damage + st.io_errors + st.cuts, 0);
    T_CHECK(!st.off && !st.broken);
    T_EQ_I64(l2_resize_to(kit.d, 40, 1), CELLAR_OK); /* a resize does not restore it, either */
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 0);
    end_on_files();
}

T_CASE(a_file_truncated_by_others_misses)
{
    for (int again = 0; again < 2; again++) {
        begin_on_files(30);
        fill(0, KEYS);
        T_EQ_U64(served(), KEYS);
        T_EQ_U64(served(), KEYS);
        T_CHECK(l2_kit_figures(&kit).mapped_reads > 0);
        T_REQUIRE(truncate(data, 5 * 16384) == 0);
        /* Its old length again: zeros instead of its records. */
        if (again != 0) { T_REQUIRE(truncate(data, 30 * 16384) == 0); }
        const uint32_t left = served();
        T_CHECK(left < KEYS);
        kit.now_ms += 120000;
        work();
        T_CHECK(served() <= left);
        if (again == 0) {
            T_EQ_U64(l2_kit_figures(&kit).mapped_bytes, 0);
            T_CHECK(l2_kit_figures(&kit).broken);
        }
        l2_close(kit.d);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); /* the remaining records are served */
        l2_kit_warm(&kit);
        (void)served();
        fill(0, KEYS);
        T_EQ_U64(served(), KEYS);
        end_on_files();
    }
}

static _Atomic bool over;
static _Atomic uint64_t found;

static void *reads(void *arg)
{
    uint64_t x = *(const uint32_t *)arg + 1;
    while (!atomic_load(&over)) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t key = (uint32_t)(x >> 33) % KEYS, got = l2_kit_look(&kit, key, GENERATION);
        T_CHECK(got == 0 || got == 1 + key % 3);
        if (got != 0) { (void)atomic_fetch_add(&found, 1); }
    }
    return NULL;
}

static pthread_t reader[2];

static void start_readers(void)
{
    static const uint32_t id[2] = { 0, 1 };
    atomic_store(&over, false);
    atomic_store(&found, 0);
    const uint64_t mapped = l2_kit_figures(&kit).mapped_reads;
    for (int i = 0; i < 2; i++) {
        T_REQUIRE(pthread_create(&reader[i], NULL, reads, (void *)(uintptr_t)&id[i]) == 0);
    }
    while (atomic_load(&found) < 2000 || l2_kit_figures(&kit).mapped_reads < mapped + 500) {
        sched_yield();
    }
}

static void stop_readers(void)
{
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++) { T_EQ_I64(pthread_join(reader[i], NULL), 0); }
}

T_CASE(concurrent_reads_of_truncated_stage_see_no_wrong_value)
{
    for (int round = 0; round < 5; round++) {
        begin_on_files(30);
        fill(0, KEYS);
        start_readers();
        T_REQUIRE(truncate(data, round * 16384) == 0); /* each of these parts has records */
        while (l2_kit_figures(&kit).mapped_bytes != 0) { sched_yield(); }
        stop_readers();
        end_on_files();
    }
}

/* The store itself makes the file shorter and longer: no signal, nothing lost. */
T_CASE(threads_continue_to_read_during_a_resize)
{
    begin_on_files(40);
    fill(0, KEYS);
    start_readers();
    for (uint32_t n = 0; n < 20; n++) {
        T_EQ_I64(l2_resize_to(kit.d, n % 2 == 0 ? 12 + n : 40, n + 1), CELLAR_OK);
        for (uint32_t i = n; i < KEYS; i += 20) {
            (void)l2_kit_put(&kit, i, 1 + i % 3, GENERATION);
            work();
        }
    }
    stop_readers();
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.mapped_bytes, 40 * 16384);
    T_EQ_U64(st.miss_damage + st.io_errors, 0);
    end_on_files();
}

static void *shrinks(void *arg)
{
    *(cellar_err *)arg = l2_resize_to(kit.d, 20, 1);
    return NULL;
}

/* An active reader blocks the truncation; meanwhile the disk is switched off. */
T_CASE(a_failed_resize_keeps_the_mapping)
{
    pthread_t thread;
    cellar_err err = CELLAR_OK;
    begin(30);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    const uint32_t was = base_load_rlx(&kit.d->mapped.places);
    (void)base_add_sc(&kit.d->mapped.begun, (uint64_t)1);
    T_REQUIRE(pthread_create(&thread, NULL, shrinks, &err) == 0);
    while (base_load_sc(&kit.d->mapped.places) == was) { base_yield(); }
    for (uint32_t i = 0; i < 8; i++) { l2_io_failed(kit.d, "l2_read", NULL, 0, EIO); }
    T_EQ_I64(pthread_join(thread, NULL), 0);
    (void)base_add_ar(&kit.d->mapped.done, (uint64_t)1);
    T_EQ_I64(err, CELLAR_E_IO);
    /* the other places are gone, truncated or not */
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 20);
    kit.now_ms += 1000;
    work();
    T_CHECK(!l2_kit_figures(&kit).off);
    const uint64_t mapped = kit.d->mapped.done;
    const uint32_t held = served();
    T_CHECK(held > KEYS / 2);
    T_EQ_U64(served(), held);
    T_CHECK(kit.d->mapped.done - mapped > held);
    l2_kit_end(&kit, &dev);
}

T_CASE(a_child_keeps_the_mapping_of_its_parent)
{
    begin_on_files(30);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        l2_forked(kit.d);
        _exit(0);
    }
    int status = 1;
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    const uint64_t mapped = kit.d->mapped.done;
    T_EQ_U64(served(), KEYS);
    T_CHECK(kit.d->mapped.done > mapped);
    T_REQUIRE(truncate(data, 0) == 0); /* the parent's handler still works */
    T_CHECK(served() < KEYS);
    end_on_files();
}

T_MAIN("l2_mapped")
