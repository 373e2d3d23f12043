/* SPDX-License-Identifier: MIT
 *
 * sessions: keep the sessions of a web site so that a restart of the program ends none of them.
 *
 * A session ends after 30 minutes without use, and after a day in any case. Each change is on disk
 * before its call returns, so sessions outlive a restart and a kill of the program. After a power
 * cut the changes of the last second may be missing: a session that was ended in that second lives
 * again. The index of the disk has a place for each 512 bytes of l2_bytes, and nine tenths of them
 * are sure to be used: 64 MiB are enough for about 120,000 short sessions. When they are full, a
 * log-in fails with E_IO: set l2_bytes for the sessions of a day.
 *
 * The browser has the id of the session in a cookie. The key is a hash of that id, because keys on
 * disk are readable, and a stolen hash opens no session. A plain hash is enough for an id of 128
 * random bits. If you make a key of something that can be guessed, such as a mail address, use
 * HMAC-SHA-256 with a secret.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/sessions.c -Iinclude build/libcellar.a -lcrypto -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/sessions.c dist/cellar.c -Idist -Idist/include -lcrypto -pthread
 *     ./a.out
 *
 * The program logs a user in and shows a page. Then it closes the store and opens it again, as a
 * new version of a server does, shows a page and logs the user out. The last page needs a new
 * log-in. In your program, put what you need into `session`, without pointers, and raise
 * root.version when the struct changes. If a log-out fails, ask the user to log out once more. A
 * server answers 503 where this program ends. */
#include <err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cellar_entry.h"
#include "cellar_l2.h"

typedef struct session {
    int64_t user_id;
    char name[24];
} session;

static void die(cellar *sessions)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(sessions, &why);
    errx(1, "%s", why.text); /* call, argument, rule and remedy */
}

static cellar *sessions_open(void)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *sessions;
    root.version = 1;
    root.idle_ms = 30 * 60 * 1000;
    root.max_age_ms = 24 * 60 * 60 * 1000;
    root.l2_write = CELLAR_L2_WRITE_THROUGH;
    disk.sync = CELLAR_L2_SYNC_PERIODIC; /* with the default a power cut ends all sessions */
    cfg.root = &root;
    cfg.l2 = &disk;
    cfg.l2_path = "sessions.cache";
    cfg.l2_bytes = 64 << 20;
    if (cellar_open(&cfg, &sessions) != CELLAR_OK) { die(NULL); }
    return sessions;
}

static void page(cellar *sessions, const void *key, size_t key_len)
{
    session s;
    size_t len;
    const cellar_err err = cellar_get(sessions, key, key_len, &s, sizeof s, &len);
    if (err == CELLAR_OK && len == sizeof s) { printf("a page for %s\n", s.name); }
    else if (err >= 0) { puts("log in again"); } /* MISS */
    else { die(sessions); }
}

int main(void)
{
    unsigned char id[16], key[SHA256_DIGEST_LENGTH];
    const session ada = { 7, "ada" };
    cellar *sessions = sessions_open();
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) { err(1, "getrandom"); }
    SHA256(id, sizeof id, key);
    if (cellar_set(sessions, key, sizeof key, &ada, sizeof ada, NULL) < 0) { die(sessions); }
    page(sessions, key, sizeof key);
    if (cellar_close(sessions) != CELLAR_OK) { die(sessions); }
    sessions = sessions_open();
    page(sessions, key, sizeof key);
    if (cellar_delete(sessions, key, sizeof key) < 0) { die(sessions); }
    page(sessions, key, sizeof key);
    return cellar_close(sessions) == CELLAR_OK ? 0 : 1;
}
