/* SPDX-License-Identifier: MIT
 *
 * tls_kit: the certificates of certificates.sh, in a folder of the case. A program makes them once;
 * each case has copies, which are removed after it.
 *
 * USE        char dir[T_FOLDER_MAX];
 *            if (!tls_kit_open(dir)) { return; }     the case is skipped without TLS or openssl
 *            tls_kit_path(path, dir, "server.pem"); */
#ifndef CELLAR_TESTS_TLS_KIT_H
#define CELLAR_TESTS_TLS_KIT_H

#include "tests/support/folder.h"
#include "tests/support/left.h"
#include "tls/tls.h"

#define TLS_KIT_PATH (T_FOLDER_MAX + 32)

T_INLINE const char *tls_kit_path(char to[TLS_KIT_PATH], const char *dir, const char *name)
{
    snprintf(to, TLS_KIT_PATH, "%s/%s", dir, name);
    return to;
}

/* Run a command of the shell in the folder. */
T_INLINE bool tls_kit_run(const char *dir, const char *command)
{
    char text[T_FOLDER_MAX + 256];
    snprintf(text, sizeof text, "cd '%s' && %s", dir, command);
    return system(text) == 0;
}

static char tls_kit_made[T_FOLDER_MAX];
static pid_t tls_kit_maker;

__attribute__((destructor)) static void tls_kit_unmake(void)
{
    if (tls_kit_maker == getpid()) { t_wipe(tls_kit_made); }
}

static void tls_kit_left(void *dir)
{
    t_wipe(dir);
    free(dir);
}

/* Copy the certificates into a new folder. False: the case is skipped. */
T_INLINE bool tls_kit_open(char dir[T_FOLDER_MAX])
{
    char text[2 * T_FOLDER_MAX + 64];
    if (!tls_is_built()) {
        T_SKIP("built without TLS=1");
        return false;
    }
    if (tls_kit_maker == 0) {
        if (system("openssl version >/dev/null 2>&1") != 0) {
            T_SKIP("no openssl");
            return false;
        }
        t_folder(tls_kit_made);
        tls_kit_maker = getpid();
        snprintf(text, sizeof text, "sh tests/support/certificates.sh '%s'", tls_kit_made);
        T_REQUIRE(system(text) == 0);
    }
    t_folder(dir);
    snprintf(text, sizeof text, "cp -p '%s'/* '%s'", tls_kit_made, dir);
    T_REQUIRE(system(text) == 0);
    left_add(strdup(dir), tls_kit_left);
    return true;
}

#endif
