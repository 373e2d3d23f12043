/* SPDX-License-Identifier: MIT
 *
 * open_files: keep the files of a static server open, and share them among its responses.
 *
 * An entry of the cache is an object: a struct with the descriptor and the size of a file. A
 * response holds its object until the last byte is sent. If the file is evicted meanwhile, the
 * library calls file_end after the last response that holds it. At most 500 files are open, and
 * those of running responses. A file that was replaced is served for a minute.
 *
 * Clients choose the paths, so three rules close ways to do harm:
 *
 *   - No path leads out of the folder, and no link is followed (served_file.h).
 *   - Other names of a file, such as a//b and a/./b, are 404: each would be an entry of its own.
 *   - A path without a file is not stored (CELLAR_LOAD_NO_NEGATIVE): made-up paths would take the
 *     places of open files.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/open_files.c -Iinclude build/libcellar.a -pthread
 *     ./a.out /srv/www index.html index.html | cat
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/open_files.c dist/cellar.c -Idist -Idist/include -pthread
 *
 * The program writes the status and the bytes of each path to its output, as a server sends them to
 * a client, and at the end how many files it opened. It ends if `serve` returns false: then a
 * server closes the connection. In your program, give each client a time limit: a client that reads
 * slowly keeps its file open. */
#include <err.h>
#include <signal.h>

#include "cellar_object.h"
#include "served_file.h"

static void file_end(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge;
    (void)why;
    (void)ctx;
    served_file_close(object);
}

static cellar_err file_load(cellar_load *load, const void *path, size_t path_len, void *folder)
{
    served_file *f;
    const int error = served_file_open(*(const int *)folder, path, path_len, &f);
    if (error == ENOENT) { return cellar_load_absent(load); }
    if (error != 0) { return cellar_load_fail(load, error, 0, 0); } /* too many open files, .. */
    return cellar_load_object(load, f, sizeof *f);
}

static bool serve(cellar *files, const char *path, int client)
{
    const size_t len = strlen(path);
    cellar_held held;
    const cellar_err err = cellar_object_get_or_load(files, path, len, NULL, NULL, NULL, &held);
    const bool none = err == CELLAR_ABSENT || len == 0; /* an empty path is no key */
    if (held.object == NULL && !none) { warnx("503: %s", cellar_strerror(err)); }
    dprintf(client, "%s: %d\n", path, held.object != NULL ? 200 : none ? 404 : 503);
    const bool whole = held.object == NULL || served_file_send(held.object, client);
    cellar_object_release(&held);
    return whole;
}

int main(int argc, char **argv)
{
    int folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    cellar_object_config objects = cellar_object_config_default();
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *files;
    if (folder < 0) { errx(1, "usage: open_files FOLDER PATH.."); }
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer: sendfile fails then */
    objects.free_fn = file_end;
    load.flags = CELLAR_LOAD_NO_NEGATIVE;
    root.object = &objects;
    root.loader = file_load;
    root.loader_ctx = &folder;
    root.load = &load;
    root.default_ttl_ms = 60 * 1000;
    root.max_entries = 500;
    cfg.root = &root;
    if (cellar_open(&cfg, &files) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    for (int i = 2; i < argc && serve(files, argv[i], STDOUT_FILENO); i++) {}
    dprintf(STDOUT_FILENO, "opened: %d\n", served_files_opened);
    return cellar_close(files) == CELLAR_OK ? 0 : 1;
}
