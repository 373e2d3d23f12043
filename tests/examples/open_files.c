/* SPDX-License-Identifier: MIT
 *
 * open_files: a static server keeps its files open. An object of the cache is an open file. A
 * response holds its file until the last byte is sent: a file that is replaced or evicted meanwhile
 * is closed after that. No path of a client leads out of the folder (openat2: Linux 5.6). A path
 * without a file is not remembered: made-up paths would take the places of open files. So would
 * other names of a file: a path with an empty part, "." or ".." is 404. The open files are 500 at
 * most, and those of running responses. A file that was replaced is served for a minute.
 *
 *     cc -O2 open_files.c -lcellar -pthread;   ./a.out /srv/www index.html | cat
 *     drop-in: cc -O2 open_files.c dist/cellar.c -Idist -Idist/include -pthread */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cellar_object.h"

typedef struct file { int fd; off_t size; } file;
static atomic_int opened;
static void file_close(void *object, size_t charge, cellar_cause why, void *ctx)
{ (void)charge, (void)why, (void)ctx, close(((file *)object)->fd), free(object); }

/* A path that leads out of the folder is EXDEV, a link ELOOP. O_NONBLOCK: no wait at a pipe. */
static cellar_err file_load(cellar_load *load, const void *key, size_t key_len, void *folder)
{
    const struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
                                  .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    char path[257] = "/";
    struct stat st;
    if (key_len > 255 || memchr(key, 0, key_len)) { return cellar_load_absent(load); }
    memcpy(path + 1, key, key_len), errno = ENOENT; /* for other names of a file */
    const int other = strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../");
    int fd = other ? -1 : (int)syscall(SYS_openat2, *(int *)folder, path + 1, &how, sizeof how);
    const int none = errno == ENOENT || errno == EXDEV || errno == ELOOP || errno == ENOTDIR;
    if (fd < 0) { return none ? cellar_load_absent(load) : cellar_load_fail(load, errno, 0, 0); }
    const int regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    file *const f = regular ? malloc(sizeof *f) : NULL;
    if (f == NULL) { return close(fd), regular ? CELLAR_E_NOMEM : cellar_load_absent(load); }
    *f = (file){ fd, st.st_size }, opened++;
    return cellar_load_object(load, f, sizeof *f);
}

/* Return 0 if the connection must end: the file was cut, or the client left. */
static int file_send(cellar *files, const char *path, int to)
{
    cellar_held held;
    off_t at = 0; /* of this response: all responses share the descriptor */
    const cellar_err err = cellar_object_get_or_load(files, path, strlen(path), 0, 0, 0, &held);
    const file *const f = held.object; /* NULL unless OK */
    dprintf(to, "%s: %d\n", path, f ? 200 : err == CELLAR_ABSENT || *path == 0 ? 404 : 503);
    while (f != NULL && at < f->size && sendfile(to, f->fd, &at, (size_t)(f->size - at)) > 0) { }
    const int whole = f == NULL || at == f->size;
    return cellar_object_release(&held), whole;
}

int main(int argc, char **argv)
{
    int folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    cellar_object_config of = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_load_opts load = cellar_load_opts_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *files;
    of.free_fn = file_close, root.object = &of, root.loader = file_load, root.loader_ctx = &folder;
    load.flags = CELLAR_LOAD_NO_NEGATIVE, root.load = &load, cfg.root = &root;
    root.default_ttl_ms = 60000, root.max_entries = 500;
    if (folder < 0 || cellar_open(&cfg, &files) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        return fprintf(stderr, "%s\n", folder < 0 ? "no folder" : why.text), 1;
    }
    for (int i = 2; i < argc && file_send(files, argv[i], STDOUT_FILENO); i++) { }
    dprintf(STDOUT_FILENO, "opened: %d\n", opened);
    return cellar_close(files) == CELLAR_OK ? 0 : 1;
}
