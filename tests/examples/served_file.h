/* SPDX-License-Identifier: MIT
 *
 * served_file: open a file below a folder, send it and close it, for open_files.c.
 *
 * It knows no cache. A server with many folders opens each of them once. */
#ifndef SERVED_FILE_H
#define SERVED_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SERVED_PATH_MAX = 255 };

typedef struct served_file {
    int fd;
    off_t size;
} served_file;

static atomic_int served_files_opened;

static inline void served_file_close(served_file *f)
{
    close(f->fd);
    free(f);
}

/* Return whether a path is the one name of a file: without an empty part, "." and "..". */
static inline bool served_path_is_plain(const char *path)
{
    char parts[SERVED_PATH_MAX + 3];
    snprintf(parts, sizeof parts, "/%s/", path);
    return strstr(parts, "//") == NULL && strstr(parts, "/./") == NULL &&
           strstr(parts, "/../") == NULL;
}

/* Open a regular file below a folder. Return 0, or an errno: ENOENT for each path that names no
 * such file, also for one that leads out of the folder or over a link. openat2: Linux 5.6. */
static inline int served_file_open(int folder, const void *path, size_t path_len, served_file **out)
{
    /* O_NONBLOCK: the open of a pipe does not wait for its writer. */
    const struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
                                  .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    char name[SERVED_PATH_MAX + 1] = "";
    struct stat st;
    if (path_len > SERVED_PATH_MAX || memchr(path, 0, path_len) != NULL) { return ENOENT; }
    memcpy(name, path, path_len);
    if (!served_path_is_plain(name)) { return ENOENT; }
    const int fd = (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
    if (fd < 0) {
        const bool none = errno == EXDEV || errno == ELOOP || errno == ENOTDIR;
        return none ? ENOENT : errno;
    }
    const bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    served_file *const f = regular ? malloc(sizeof *f) : NULL;
    if (f == NULL) {
        close(fd);
        return regular ? ENOMEM : ENOENT;
    }
    *f = (served_file){ fd, st.st_size };
    served_files_opened++;
    *out = f;
    return 0;
}

/* Send the file. Return false if the connection must end: the client left, or the file was cut. */
static inline bool served_file_send(const served_file *f, int client)
{
    off_t at = 0; /* of this response: all responses share the descriptor */
    while (at < f->size && sendfile(client, f->fd, &at, (size_t)(f->size - at)) > 0) {}
    return at == f->size;
}

#endif
