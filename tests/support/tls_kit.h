/* SPDX-License-Identifier: MIT
 *
 * tls_kit: the certificates of certificates.sh, in a folder of the case.
 *
 * USE        char dir[T_FOLDER_MAX];
 *            if (!tls_kit_open(dir)) { return; }     the case is skipped without TLS or openssl
 *            tls_kit_path(path, dir, "server.pem");
 *            t_wipe(dir); */
#ifndef CELLAR_TESTS_TLS_KIT_H
#define CELLAR_TESTS_TLS_KIT_H

#include "tests/support/folder.h"
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

/* Make the certificates in a new folder. False: the case is skipped. */
T_INLINE bool tls_kit_open(char dir[T_FOLDER_MAX])
{
    char text[T_FOLDER_MAX + 64];
    if (!tls_is_built()) {
        T_SKIP("built without TLS=1");
        return false;
    }
    if (system("openssl version >/dev/null 2>&1") != 0) {
        T_SKIP("no openssl");
        return false;
    }
    t_folder(dir);
    snprintf(text, sizeof text, "sh tests/support/certificates.sh '%s'", dir);
    T_REQUIRE(system(text) == 0);
    return true;
}

#endif
