/* SPDX-License-Identifier: MIT
 *
 * rights: the least rights of a user of the server, as cellar_remote.h names them.
 *
 * USE        rights r;
 *            rights_read(&r);                    r.word[0 .. r.count - 1]
 *            rights_grant(&e, "u", ">secret", &r, i);  without number i; r.count: all */
#ifndef CELLAR_TESTS_RIGHTS_H
#define CELLAR_TESTS_RIGHTS_H

#include "tests/support/engine_kit.h"

enum { RIGHTS_MAX = 32 };

typedef struct rights {
    char text[1024];
    const char *word[RIGHTS_MAX]; /* "-@all" is left out: a new user has no command */
    size_t count;
} rights;

/* Read the words of the header between its two sentences. */
T_INLINE void rights_read(rights *r)
{
    static const char before[] = "The least rights of the user are";
    char line[256];
    bool inside = false;
    FILE *f = fopen("include/cellar_remote.h", "r");
    T_REQUIRE(f != NULL);
    *r = (rights){ .count = 0 };
    while (fgets(line, sizeof line, f) != NULL) {
        if (strstr(line, "A missing right") != NULL) { inside = false; }
        if (inside) { strncat(r->text, line + 2, sizeof r->text - strlen(r->text) - 1); }
        if (strstr(line, before) != NULL) { inside = true; }
    }
    fclose(f);
    for (char *w = strtok(r->text, " \n"); w != NULL; w = strtok(NULL, " \n")) {
        T_REQUIRE(r->count < RIGHTS_MAX);
        if (strcmp(w, "-@all") != 0) { r->word[r->count++] = w; }
    }
    T_REQUIRE(r->count > 3);
}

/* Make or change a user with all rights but number `without`. password: ">secret" or "nopass". */
T_INLINE void rights_grant(engine *e, const char *user, const char *password, const rights *r,
                           size_t without)
{
    const char *argv[RIGHTS_MAX + 6] = { "ACL", "SETUSER", user, "reset", "on", password };
    int n = 6;
    for (size_t i = 0; i < r->count; i++) {
        if (i != without) { argv[n++] = r->word[i]; }
    }
    if (e->c == NULL) { engine_ask(e, "PING"); }
    redisReply *reply = redisCommandArgv(e->c, n, argv, NULL);
    T_CHECK(reply != NULL && reply->type == REDIS_REPLY_STATUS);
    freeReplyObject(reply);
}

#endif
