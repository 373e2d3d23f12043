/* SPDX-License-Identifier: MIT
 *
 * Aim:    No read through the mapping of a file that is truncated returns damaged bytes, and no
 *         process ends by SIGBUS.
 * Method: `l2_map`: the store truncates a real mapped file while others read it. */
#include "tests/concurrency/sim/scenarios.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/l2_kit.h"

#define SIM_MAP_GENERATION 3u

static struct {
    l2_dev dev;
    l2_kit kit;
} mapped;

#define SIM_MAP_KEYS 8u
#define SIM_MAP_FILL (4 * SIM_MAP_KEYS) /* so that the newest are in the highest places */

/* A real file with the bytes and the length of data.seg is mapped. A read past its end causes
 * SIGBUS, which the store handles and reports (mapped_bytes). */
static int sim_map_fd;
static bool sim_map_over; /* the resizer has ended */

static bool sim_map_is(const base_vfs_file *f)
{
    return strcmp(((const l2_dev_file *)(const void *)f)->name, "data.seg") == 0;
}

static int sim_map_map(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    (void)ctx;
    (void)f;
    *out = mmap(NULL, bytes, PROT_READ, MAP_SHARED, sim_map_fd, 0);
    return *out == MAP_FAILED ? ENOMEM : 0;
}

static void sim_map_unmap(void *ctx, void *p, size_t bytes)
{
    const l2_dev_file *stage = l2_dev_find(ctx, "stage.buf");
    if (stage != NULL && p == stage->live) {
        l2_dev_unmap(ctx, p, bytes);
    } else {
        (void)munmap(p, bytes);
    }
}

static int sim_map_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t off,
                          size_t *done)
{
    if (sim_map_is(f)) { BASE_SIM_CHECK(pwrite(sim_map_fd, buf, n, (off_t)off) == (ssize_t)n); }
    return l2_dev_pwrite(ctx, f, buf, n, off, done);
}

static int sim_map_truncate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    if (sim_map_is(f)) { BASE_SIM_CHECK(ftruncate(sim_map_fd, (off_t)bytes) == 0); }
    return l2_dev_truncate(ctx, f, bytes);
}

static int sim_map_preallocate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    if (sim_map_is(f)) { BASE_SIM_CHECK(ftruncate(sim_map_fd, (off_t)bytes) == 0); }
    return l2_dev_preallocate(ctx, f, bytes);
}

/* Through the mapping or not: never bytes past the end of the file. */
static void sim_map_reader(void *arg)
{
    l2_kit *k = &mapped.kit;
    (void)arg;
    for (unsigned i = 0; i < 8 || (i < 200 && !sim_map_over); i++) {
        unsigned char buf[6000];
        size_t len;
        l2_meta m;
        const uint32_t key = (uint32_t)base_sim_below(SIM_MAP_KEYS);
        const l2_key id = l2_kit_key(k, &key, sizeof key, SIM_MAP_GENERATION);
        const cellar_err err = l2_get(k->d, &id, buf, sizeof buf, &len, &m);
        BASE_SIM_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && buf[5999] == key));
    }
}

static void sim_map_resizer(void *arg)
{
    (void)arg;
    for (uint32_t n = 0; n < 2; n++) {
        const cellar_err err = l2_resize_to(mapped.kit.d, n == 0 ? 7 : 16, n + 1);
        BASE_SIM_CHECK(err == CELLAR_OK);
    }
    sim_map_over = true;
}

static void sim_l2_map_run(void)
{
    static unsigned char value[6000];
    base_sim_calm(true);
    memset(&mapped, 0, sizeof mapped);
    l2_dev_init(&mapped.dev);
    mapped.dev.flat = true;
    l2_kit_init(&mapped.kit, &mapped.dev);
    mapped.kit.cfg.seg_count = 16;
    mapped.kit.cfg.sigbus = mapped.kit.cfg.mmap_read = true;
    mapped.kit.vfs.map_read = sim_map_map;
    mapped.kit.vfs.unmap = sim_map_unmap;
    mapped.kit.vfs.pwrite = sim_map_pwrite;
    mapped.kit.vfs.truncate = sim_map_truncate;
    mapped.kit.vfs.preallocate = sim_map_preallocate;
    mapped.kit.vfs.ahead = NULL; /* a hint may name bytes that the file loses at the same time */
    FILE *real = tmpfile();
    BASE_SIM_CHECK(real != NULL);
    sim_map_fd = fileno(real);
    sim_map_over = false;
    BASE_SIM_CHECK(l2_kit_open(&mapped.kit) == CELLAR_OK);
    for (uint32_t n = 0; n < SIM_MAP_FILL + SIM_MAP_KEYS; n++) { /* stored; read: fresh */
        const uint32_t key = n % SIM_MAP_KEYS;
        const l2_key id = l2_kit_key(&mapped.kit, &key, sizeof key, SIM_MAP_GENERATION);
        l2_parts parts = { 0 };
        l2_meta m = { .deadline_ms = BASE_NEVER_MS, .parts = &parts };
        size_t len;
        memset(value, (int)key, sizeof value);
        if (n < SIM_MAP_FILL) {
            cellar_err err = CELLAR_DROPPED;
            for (unsigned i = 0; err == CELLAR_DROPPED && i < 16; i++) { /* in parts */
                err = l2_put(mapped.kit.d, &id, value, sizeof value, &m, NULL);
                (void)l2_tick(mapped.kit.d, 0);
            }
            BASE_SIM_CHECK(err == CELLAR_OK);
        } else {
            BASE_SIM_CHECK(l2_get(mapped.kit.d, &id, value, sizeof value, &len, &m) == CELLAR_OK);
        }
    }
    base_sim_calm(false);
    base_sim_spawn("reader-1", sim_map_reader, NULL);
    base_sim_spawn("reader-2", sim_map_reader, NULL);
    base_sim_spawn("resizer", sim_map_resizer, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    const l2_stats st = l2_kit_figures(&mapped.kit);
    BASE_SIM_CHECK(st.miss_damage == 0 && st.io_errors == 0 && st.mapped_bytes != 0);
    BASE_SIM_CHECK(base_load_acq(&mapped.kit.d->mapped.places) == 16);
    l2_close(mapped.kit.d);
    l2_dev_fini(&mapped.dev);
    (void)fclose(real);
    base_sim_calm(false);
}

const base_sim_scenario sim_l2_map = {
    "l2_map", "no read through a mapping of a truncated file", sim_l2_map_run, 0
};
