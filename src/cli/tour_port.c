/* SPDX-License-Identifier: MIT
 *
 * tour_port: ask the store of the tour through a port, as clients of Redis do.
 *
 * WALK       a port on a socket file, served by its own thread -> GET of each file -> compare each
 *            reply with the answer that the process reads
 * LIMITS     TOUR_PORT_ASKS requests, one at a time. Database 0 is the root namespace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/tour_port.h"
#include "cellar_resp.h"

#define TOUR_PORT_ASKS 1000u
#define TOUR_PORT_VALUE 512u

static int tour_port_connect(const char *path)
{
    struct sockaddr_un at;
    memset(&at, 0, sizeof at);
    at.sun_family = AF_UNIX;
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) { return fd; }
    if (fd >= 0) { (void)close(fd); }
    return -1;
}

/* Ask for a key. Return whether the reply is this value. */
static bool tour_port_get(FILE *to, FILE *from, const char *key, const void *value, size_t len)
{
    char line[32], want[32], back[TOUR_PORT_VALUE + 2];
    fprintf(to, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
    (void)snprintf(want, sizeof want, "$%zu\r\n", len);
    return fflush(to) == 0 && fgets(line, sizeof line, from) != NULL && strcmp(line, want) == 0 &&
           fread(back, 1, len + 2, from) == len + 2 && memcmp(back, value, len) == 0;
}

static void tour_port_ask(cellar *store, const cli_files *files, FILE *to, FILE *from,
                          tour_port_result *r)
{
    unsigned char value[TOUR_PORT_VALUE];
    uint64_t took_ns = 0;
    for (size_t i = 0; i < files->count && r->asked < TOUR_PORT_ASKS && r->different == 0; i++) {
        const char *path = files->file[i].path;
        size_t len;
        if (cellar_get(store, path, strlen(path), value, sizeof value, &len) != CELLAR_OK) {
            continue;
        }
        const uint64_t start = cli_clock_ns();
        r->different += !tour_port_get(to, from, path, value, len);
        took_ns += cli_clock_ns() - start;
        r->asked++;
    }
    r->get_ns = r->asked != 0 ? took_ns / r->asked : 0;
}

/* Connect to the port and ask. Return false if there is no connection. */
static bool tour_port_talk(cellar *store, const cli_files *files, const char *path,
                           tour_port_result *r)
{
    const int fd = tour_port_connect(path), twin = fd >= 0 ? dup(fd) : -1;
    FILE *from = fd >= 0 ? fdopen(fd, "r") : NULL, *to = twin >= 0 ? fdopen(twin, "w") : NULL;
    const bool fine = from != NULL && to != NULL;
    if (fine) { tour_port_ask(store, files, to, from, r); }
    if (from != NULL) { (void)fclose(from); } else if (fd >= 0) { (void)close(fd); }
    if (to != NULL) { (void)fclose(to); } else if (twin >= 0) { (void)close(twin); }
    return fine;
}

void tour_port_run(cellar *store, const cli_files *files, tour_port_result *r)
{
    const char *tmp = getenv("TMPDIR");
    char folder[90], path[100];
    memset(r, 0, sizeof *r);
    const int n = snprintf(folder, sizeof folder, "%s/cellar-port-XXXXXX",
                           tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof folder || mkdtemp(folder) == NULL) {
        r->skipped = "no temporary folder can be made; set TMPDIR";
        return;
    }
    (void)snprintf(path, sizeof path, "%s/s", folder);
    cellar_resp_opts o = cellar_resp_opts_default();
    o.unix_path = path;
    o.namespaces = "0="; /* the root */
    cellar_resp *port;
    if (cellar_resp_open(store, &o, &port) != CELLAR_OK) {
        r->skipped = "no socket can be made in the temporary folder; set TMPDIR";
    } else {
        if (cellar_resp_start(port) != CELLAR_OK || !tour_port_talk(store, files, path, r)) {
            r->skipped = "no thread or descriptor is left";
        }
        cellar_resp_close(port);
    }
    (void)rmdir(folder);
}
