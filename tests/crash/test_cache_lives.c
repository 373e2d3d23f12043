/* SPDX-License-Identifier: MIT
 *
 * Aim:    a disk tier does not forget over many short lives: an entry that a life stored is found
 *         in all later ones, after closes and after kills, at each level of sync.
 * Method: each life is a process that opens the store, sets 10 entries of 200 bytes THROUGH, and
 *         ends by cellar_close or by SIGKILL. All entries are read now and then. A store that takes a
 *         segment in each life forgets after 56. LIVES=n: lives of each kind, at each level of
 *         sync; LIVES_DIR: where the store is. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "tests/support/folder.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#define EACH 10u
#define BYTES 200u

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];

static cellar *open_it(uint32_t sync)
{
    cellar *c = NULL;
    settings cfg = settings_default();
    cellar_namespace_opts v = cellar_namespace_opts_default();
    v.l2_write = CELLAR_L2_WRITE_THROUGH;
    cfg.config.root = &v;
    cfg.config.memory_bytes = (uint64_t)16 << 20;
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = (uint64_t)64 << 20;
    cfg.l2.sync = sync;
    return settings_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

static void value_of(uint32_t key, unsigned char value[BYTES])
{
    for (uint32_t i = 0; i < BYTES; i++) { value[i] = (unsigned char)(key * 7 + i); }
}

static int life(uint32_t number, uint32_t sync, bool closes)
{
    unsigned char value[BYTES];
    cellar *c = open_it(sync);
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
    uint32_t n = 0;
    cellar *c = open_it(sync);
    T_REQUIRE(c != NULL);
    for (uint32_t key = 0; key < lives * EACH; key++) {
        unsigned char value[BYTES], want[BYTES];
        size_t len = 0;
        value_of(key, want);
        n += cellar_get(c, &key, sizeof key, value, BYTES, &len) == CELLAR_OK && len == BYTES &&
             memcmp(value, want, BYTES) == 0;
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    return n;
}

static void lives(const char *how, uint32_t sync, uint32_t ends)
{
    const uint32_t most = (uint32_t)t_env_u64("LIVES", 70);
    const char *dir = getenv("LIVES_DIR");
    t_folder_in(dir != NULL ? dir : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", folder);
    snprintf(store, sizeof store, "%s/store", folder);
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
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

static void each(const char *how, uint32_t ends)
{
    static const uint32_t sync[] = { CELLAR_L2_SYNC_MANUAL, CELLAR_L2_SYNC_PERIODIC,
                                     CELLAR_L2_SYNC_ALWAYS };
    for (uint32_t i = 0; i < 3; i++) {
        if (getenv("LIVES") != NULL || i == ends) { lives(how, sync[i], ends); }
    }
}

static void closed_lives_are_found(void) { each("closed", 0); }
static void killed_lives_are_found(void) { each("killed", 1); }
static void mixed_lives_are_found(void) { each("closed and killed", 2); }

T_MAIN("cache_lives", T_CASE(closed_lives_are_found), T_CASE(killed_lives_are_found),
       T_CASE(mixed_lives_are_found))
