/* SPDX-License-Identifier: MIT
 *
 * shared_limit: one limiter for all processes: a user may send five messages a minute, no matter
 * which worker takes them.
 *
 * A limiter of cellar_limit.h belongs to one process: four workers would admit four times the
 * limit. This one has its counts in a server, and each worker asks that server. A denial with a
 * known wait asks nothing. On one machine the server is `cellar serve --shared`, or a port in the
 * master of the workers, as in prefork.c. On many machines it is a Redis or Valkey: only the URL
 * changes.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/shared_limit.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/shared_limit.c dist/cellar_all.c -Idist -Idist/include -pthread -lm
 *
 *     build/cellar serve --port=0 --unix=FOLDER/cache.sock --shared=16M
 *     ./a.out 'unix://FOLDER/cache.sock?prefix=app'    a worker: start several
 *
 * FOLDER is an absolute path, and no other user may write it. Each line of the input is a user that
 * sends a message, each line of the output an HTTP status, with the seconds to wait if it is 429.
 * While the server is away, each worker admits its share, the limit divided by the workers that
 * were there. Where a message too many is worse than none, set `offline` to DENY. A token bucket
 * asks the server less often than this rule: it takes several units at a time. */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cellar_remote.h"

/* End the process if a call failed that it cannot do without. */
static void must(cellar_err err)
{
    cellar_error_info why = cellar_error_info_default();
    if (err == CELLAR_OK) { return; }
    cellar_last_error(NULL, &why);
    if (why.code != err) { cellar_remote_last_error(NULL, &why); } /* of links */
    errx(1, "%s", why.code == err ? why.text : cellar_strerror(err));
}

static void send_message(cellar_remote_limiter *messages, const char *user)
{
    cellar_limiter_result r;
    const cellar_err err = cellar_remote_limiter_check(messages, user, strlen(user), 1, &r);
    if (err == CELLAR_OK) {
        puts("200"); /* send it here */
    } else if (err == CELLAR_LIMITED) {
        printf("429 %d\n", (int)((r.retry_after_ns - 1) / CELLAR_SECOND_NS) + 1);
    } else { /* no decision: refuse */
        printf("503 %s\n", cellar_strerror(err));
    }
}

int main(int argc, char **argv)
{
    const cellar_rule five_a_minute = cellar_rule_sliding_log(5, CELLAR_MINUTE_NS);
    cellar_remote_limiter_config o = cellar_remote_limiter_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_remote_limiter *messages;
    cellar_remote *link;
    cellar *store; /* the link takes its memory from here */
    char user[256];
    if (argc != 2) { errx(2, "usage: shared_limit URL"); }
    cfg.memory_bytes = 16 << 20;
    must(cellar_open(&cfg, &store));
    must(cellar_remote_open(store, argv[1], NULL, &link));
    o.name = "messages"; /* all processes with this name and prefix share the counts */
    must(cellar_remote_limiter_open(link, &five_a_minute, &o, &messages));
    for (int ms = 0; ms < 2000 && cellar_remote_state_get(link) < CELLAR_REMOTE_PROVEN; ms++) {
        usleep(1000); /* connect; without a server the worker starts as well */
    }
    while (fgets(user, sizeof user, stdin) != NULL) {
        user[strcspn(user, "\n")] = '\0';
        if (user[0] != '\0') { send_message(messages, user); }
    }
    cellar_remote_limiter_close(messages);
    cellar_remote_close(link);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
