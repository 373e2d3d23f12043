/* SPDX-License-Identifier: MIT
 *
 * Aim:    records that are read through a mapping of data.seg are the same as those that are read
 *         by calls, whatever becomes of the file meanwhile: reclaimed, damaged, resized, cut short
 *         by others, failing. Whatever keeps it from being mapped, the store works.
 * Method: small stores on a disk made of memory, which counts calls; and on real files, cut by
 *         truncate(2) below two threads. A disk that fails below the mapping only: a mapping of
 *         another file, which is empty. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KEYS 400u
#define VGEN L2_KIT_VGEN

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
        T_EQ_I64(l2_kit_put(&kit, i, 1 + i % 3, VGEN), CELLAR_OK);
        work();
    }
}

/* What is served is right; how many. */
static uint32_t served(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = l2_kit_look(&kit, i, VGEN);
        T_CHECK(got == 0 || got == 1 + i % 3);
        n += got != 0;
    }
    return n;
}

/* ---- on a disk made of memory ---- */

static void what_was_read_not_long_ago_takes_no_call(void)
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
    kit.now_ms += 1; /* by now it may have left the page cache */
    work();
    T_EQ_U64(served(), KEYS);
    T_CHECK(dev.calls[DEV_PREAD] >= calls + first + first / 2);
    l2_kit_end(&kit, &dev);
}

static void what_the_file_says_wrongly_is_a_miss(void)
{
    begin(30);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    T_EQ_U64(served(), KEYS); /* out of the mapping */
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    const uint32_t calls = dev.calls[DEV_PREAD];
    for (size_t n = 0; n < 5; n++) { f->live[n * 16384 + 5000] ^= 4; }
    const uint32_t left = served();
    T_EQ_U64(left, KEYS - 5);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, KEYS - left);
    T_EQ_U64(dev.calls[DEV_PREAD], calls + 5); /* once more each, past the page cache */
    T_EQ_U64(l2_kit_figures(&kit).reread, 5);
    l2_kit_end(&kit, &dev);
}

static void places_that_are_used_again_serve_what_is_there_now(void)
{
    begin(8);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            l2_kit_del(&kit, i);
            T_EQ_I64(l2_kit_put(&kit, i, 1 + round, VGEN), CELLAR_OK);
            work();
            for (uint32_t n = 0; n < 3; n++) { /* twice and more: out of the mapping */
                const uint32_t other = (i + KEYS - n * 17) % KEYS;
                const uint32_t got = l2_kit_look(&kit, other, VGEN);
                T_CHECK(got == 0 || got == (other <= i ? 1 + round : round));
            }
        }
    }
    T_CHECK(l2_kit_figures(&kit).mapped_reads > 500);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    l2_kit_end(&kit, &dev);
}

static void a_resize_is_read_right_on_both_sides(void)
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

/* ---- what cannot be mapped ---- */

static size_t map_limit; /* of addresses, as RLIMIT_AS or 32 bits have it */

static int map_some(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    return bytes > map_limit ? ENOMEM : l2_dev_map_read(ctx, f, bytes, out);
}

static void without_addresses_it_maps_less_or_nothing(void)
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
        T_EQ_U64(served(), KEYS); /* here and there */
        T_EQ_I64(kit.d->mapped.done > 0, got > 0);
        l2_kit_end(&kit, &dev);
    }
}

static void it_is_bounded_by_memory_and_charged(void)
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
    T_CHECK(takes >= least && takes < least + 64); /* page tables, bits, a head of their own */
    /* No room for that: then without. */
    l2_dev_init(&dev);
    set_up(&dev, 200);
    kit.cfg.memory_bytes = 256 << 10;
    kit.cfg.mmap_read = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    kit.d->cfg.mmap_read = true;
    base_store_rlx(&kit.account.limit, used[0] + least - 100);
    l2_map_open(kit.d);
    T_EQ_U64(kit.d->mapped.bytes, 0);
    T_EQ_U64(l2_kit_figures(&kit).mapped_bytes, 0);
    l2_kit_end(&kit, &dev);
}

/* ---- real files ---- */

static const base_vfs *system_vfs;
static base_vfs wrapped;

/* Of a file that is empty: every page is missing, whatever data.seg has. */
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

static void a_mapping_that_fails_is_left_for_calls(void)
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
    for (int round = 0; round < 3; round++) { T_EQ_U64(served(), KEYS); } /* not one miss */
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.mapped_bytes, 0);
    T_EQ_U64(st.mapped_reads, 1);
    T_EQ_U64(st.miss_damage + st.io_errors + st.cuts, 0);
    T_CHECK(!st.off && !st.broken);
    T_EQ_I64(l2_resize_to(kit.d, 40, 1), CELLAR_OK); /* nor does it come back by that */
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 0);
    end_on_files();
}

static void a_file_cut_by_others_is_a_miss(void)
{
    for (int again = 0; again < 2; again++) {
        begin_on_files(30);
        fill(0, KEYS);
        T_EQ_U64(served(), KEYS);
        T_EQ_U64(served(), KEYS);
        T_CHECK(l2_kit_figures(&kit).mapped_reads > 0);
        T_REQUIRE(truncate(data, 5 * 16384) == 0);
        /* As long as it was: zeros where its records were. */
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
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); /* what is still there is served */
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
        const uint32_t key = (uint32_t)(x >> 33) % KEYS, got = l2_kit_look(&kit, key, VGEN);
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

static void threads_that_read_while_it_is_cut_see_no_wrong_value(void)
{
    for (int round = 0; round < 5; round++) {
        begin_on_files(30);
        fill(0, KEYS);
        start_readers();
        T_REQUIRE(truncate(data, round * 16384) == 0); /* there are records in each of these */
        while (l2_kit_figures(&kit).mapped_bytes != 0) { sched_yield(); }
        stop_readers();
        end_on_files();
    }
}

/* The file gets shorter and longer by our own hand: nobody meets a signal, nothing is lost. */
static void threads_read_on_beside_a_resize(void)
{
    begin_on_files(40);
    fill(0, KEYS);
    start_readers();
    for (uint32_t n = 0; n < 20; n++) {
        T_EQ_I64(l2_resize_to(kit.d, n % 2 == 0 ? 12 + n : 40, n + 1), CELLAR_OK);
        for (uint32_t i = n; i < KEYS; i += 20) {
            (void)l2_kit_put(&kit, i, 1 + i % 3, VGEN);
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

/* A reader that is not through holds the cut up; meanwhile the disk is switched off. */
static void a_resize_that_gives_up_leaves_the_mapping_open(void)
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
    T_EQ_U64(base_load_rlx(&kit.d->mapped.places), 20); /* the others are over, cut off or not */
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

static void a_child_leaves_the_mapping_to_its_parent(void)
{
    begin_on_files(30);
    fill(0, KEYS);
    T_EQ_U64(served(), KEYS);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        l2_forked(kit.d);
        l2_close(kit.d);
        _exit(base_load_rlx(&kit.account.used) == 0 ? 0 : 1);
    }
    int status = 1;
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    const uint64_t mapped = kit.d->mapped.done;
    T_EQ_U64(served(), KEYS);
    T_CHECK(kit.d->mapped.done > mapped);
    T_REQUIRE(truncate(data, 0) == 0); /* the parent's handler is still there */
    T_CHECK(served() < KEYS);
    end_on_files();
}

T_MAIN("l2_mapped", T_CASE(what_was_read_not_long_ago_takes_no_call),
       T_CASE(what_the_file_says_wrongly_is_a_miss),
       T_CASE(places_that_are_used_again_serve_what_is_there_now),
       T_CASE(a_resize_is_read_right_on_both_sides),
       T_CASE(without_addresses_it_maps_less_or_nothing),
       T_CASE(it_is_bounded_by_memory_and_charged), T_CASE(a_mapping_that_fails_is_left_for_calls),
       T_CASE(a_file_cut_by_others_is_a_miss),
       T_CASE(threads_that_read_while_it_is_cut_see_no_wrong_value),
       T_CASE(threads_read_on_beside_a_resize),
       T_CASE(a_resize_that_gives_up_leaves_the_mapping_open),
       T_CASE(a_child_leaves_the_mapping_to_its_parent))
