/* SPDX-License-Identifier: MIT
 *
 * walk: list the regular files below a folder; never follow a symbolic link.
 *
 * PICTURE    stack of open folders: [/usr/share | a b c] [a | d e] ...   each with its sorted names
 *            name -> fstatat, no follow -> folder: push; file: add to the list; other: count
 * INVARIANTS The descriptor of a folder is open exactly while the folder is on the stack. A file is
 *            read only if the opened descriptor has the listed device and inode: a folder that was
 *            replaced by a link does not lead to another file.
 * WALK       Iterative. A folder is entered at the place of its name in the order, so every run
 *            gives the same list. The first limit that is reached ends the list.
 * LIMITS     CLI_DEPTH open folders; deeper ones are counted. Other file systems are not entered
 *            (/proc holds files without end). Special files are never opened. */
#include "cli/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CLI_DEPTH 128

typedef struct cli_folder {
    int fd;
    char **name; /* sorted; owned */
    size_t count, at;
    size_t path_len; /* of cli_walk.path while its names are visited */
} cli_folder;

typedef struct cli_walk {
    cli_files *out;
    const cli_limits *limits;
    cli_folder folder[CLI_DEPTH];
    size_t depth;
    uint64_t device; /* of the root */
    char *path;      /* below the root, of the current folder, ends with '/' or is empty */
} cli_walk;

uint64_t cli_clock_ns(void)
{
    struct timespec now = { 0, 0 };
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail on Linux with this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int64_t cli_time_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static int64_t cli_changed_ns(const struct stat *st)
{
    const int64_t m = cli_time_ns(&st->st_mtim), c = cli_time_ns(&st->st_ctim);
    return m > c ? m : c;
}

/* Double the room of *array if count has reached it. Return false without memory. */
static bool cli_grow(void **array, size_t *room, size_t count, size_t element)
{
    if (count < *room) { return true; }
    const size_t more = *room == 0 ? 64 : *room * 2;
    if (more > SIZE_MAX / 2 / element) { return false; }
    void *p = realloc(*array, more * element);
    if (p == NULL) { return false; }
    *array = p;
    *room = more;
    return true;
}

static int cli_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void cli_folder_fini(cli_folder *d)
{
    for (size_t i = 0; i < d->count; i++) { free(d->name[i]); }
    free(d->name);
    if (d->fd >= 0) { close(d->fd); }
    *d = (cli_folder){ .fd = -1 };
}

/* Read all names of d->fd into d and sort them. Return 0 or an errno; names read so far stay. */
static int cli_folder_names(cli_folder *d)
{
    const int copy = dup(d->fd); /* closedir closes its descriptor */
    if (copy < 0) { return errno; }
    DIR *dir = fdopendir(copy);
    if (dir == NULL) {
        const int error = errno;
        close(copy);
        return error;
    }
    size_t room = 0;
    int error = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL) {
            error = errno;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) { continue; }
        void *array = d->name;
        const bool grown = cli_grow(&array, &room, d->count, sizeof *d->name);
        d->name = array;
        char *name = grown ? strdup(e->d_name) : NULL;
        if (name == NULL) {
            error = ENOMEM;
            break;
        }
        d->name[d->count++] = name;
    }
    closedir(dir);
    if (d->count > 1) { qsort(d->name, d->count, sizeof *d->name, cli_by_name); }
    return error;
}

/* Return the path of the current folder and `name`; NULL without memory. */
static char *cli_walk_path(const cli_walk *w, const char *name, bool folder)
{
    const size_t name_len = strlen(name), base = w->folder[w->depth - 1].path_len;
    char *path = malloc(base + name_len + 2);
    if (path == NULL) { return NULL; }
    if (base != 0) { memcpy(path, w->path, base); }
    memcpy(path + base, name, name_len);
    if (folder) { path[base + name_len] = '/'; }
    path[base + name_len + folder] = '\0';
    return path;
}

/* Enter a folder. Return 0 or ENOMEM. A folder with any other error is counted and skipped. */
static int cli_walk_enter(cli_walk *w, const char *name, const struct stat *st)
{
    cli_files *out = w->out;
    if ((uint64_t)st->st_dev != w->device) {
        out->skipped[CLI_SKIP_ELSEWHERE]++;
        return 0;
    }
    if (w->depth == CLI_DEPTH) {
        out->skipped[CLI_SKIP_DEEP]++;
        return 0;
    }
    const int fd = openat(w->folder[w->depth - 1].fd, name,
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        out->skipped[errno == ENOENT ? CLI_SKIP_VANISHED : CLI_SKIP_UNREADABLE]++;
        return 0;
    }
    char *path = cli_walk_path(w, name, true);
    if (path == NULL) {
        close(fd);
        return ENOMEM;
    }
    free(w->path);
    w->path = path;
    cli_folder *d = &w->folder[w->depth++];
    *d = (cli_folder){ .fd = fd, .path_len = strlen(path) };
    const int error = cli_folder_names(d);
    if (error == ENOMEM) { return ENOMEM; }
    if (error != 0) { out->skipped[CLI_SKIP_UNREADABLE]++; }
    return 0;
}

/* Add a file to the list, or set out->cut if that exceeds a limit. Return 0 or ENOMEM. */
static int cli_walk_note(cli_walk *w, const char *name, const struct stat *st)
{
    cli_files *out = w->out;
    const uint64_t size = (uint64_t)st->st_size;
    if (size > w->limits->bytes) {
        out->skipped[CLI_SKIP_LARGE]++;
        return 0;
    }
    if (out->count >= w->limits->files) {
        out->cut = CLI_CUT_FILES;
        return 0;
    }
    if (size > w->limits->bytes - out->bytes) {
        out->cut = CLI_CUT_BYTES;
        return 0;
    }
    void *array = out->file;
    const bool grown = cli_grow(&array, &out->room, out->count, sizeof *out->file);
    out->file = array;
    char *path = grown ? cli_walk_path(w, name, false) : NULL;
    if (path == NULL) { return ENOMEM; }
    out->file[out->count++] = (cli_file){ .path = path, .size = size,
                                           .device = (uint64_t)st->st_dev,
                                           .inode = (uint64_t)st->st_ino,
                                           .changed_ns = cli_changed_ns(st) };
    out->bytes += size;
    return 0;
}

static int cli_walk_visit(cli_walk *w, const char *name)
{
    struct stat st;
    if (fstatat(w->folder[w->depth - 1].fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        w->out->skipped[errno == ENOENT ? CLI_SKIP_VANISHED : CLI_SKIP_UNREADABLE]++;
        return 0;
    }
    if (S_ISDIR(st.st_mode)) { return cli_walk_enter(w, name, &st); }
    if (S_ISLNK(st.st_mode)) {
        w->out->skipped[CLI_SKIP_SYMLINK]++;
    } else if (!S_ISREG(st.st_mode)) {
        w->out->skipped[CLI_SKIP_SPECIAL]++;
    } else if (st.st_size <= 0) {
        w->out->skipped[CLI_SKIP_EMPTY]++;
    } else {
        return cli_walk_note(w, name, &st);
    }
    return 0;
}

static int cli_walk_all(cli_walk *w)
{
    while (w->depth > 0 && w->out->cut == CLI_CUT_NONE) {
        cli_folder *d = &w->folder[w->depth - 1];
        if (d->at == d->count) {
            cli_folder_fini(d);
            w->depth--;
            continue;
        }
        if (cli_clock_ns() >= w->limits->deadline_ns) {
            w->out->cut = CLI_CUT_TIME;
            return 0;
        }
        const int error = cli_walk_visit(w, d->name[d->at++]);
        if (error != 0) { return error; }
    }
    return 0;
}

int cli_files_open(cli_files *f, const char *folder, const cli_limits *limits)
{
    struct stat st;
    int error = 0;
    *f = (cli_files){ .root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    if (f->root < 0) { return errno; }
    cli_walk *w = calloc(1, sizeof *w);
    if (w == NULL) { return ENOMEM; }
    w->out = f;
    w->limits = limits;
    w->folder[0].fd = fcntl(f->root, F_DUPFD_CLOEXEC, 0);
    w->depth = 1;
    if (w->folder[0].fd < 0 || fstat(f->root, &st) != 0) {
        error = errno;
    } else {
        w->device = (uint64_t)st.st_dev;
        error = cli_folder_names(&w->folder[0]);
    }
    if (error == 0) { error = cli_walk_all(w); }
    while (w->depth > 0) { cli_folder_fini(&w->folder[--w->depth]); }
    free(w->path);
    free(w);
    return error;
}

void cli_files_close(cli_files *f)
{
    for (size_t i = 0; i < f->count; i++) { free(f->file[i].path); }
    free(f->file);
    if (f->root >= 0) { close(f->root); }
    *f = (cli_files){ .root = -1 };
}

cli_skip cli_file_read(const cli_files *f, const cli_file *file, uint64_t deadline_ns,
                       unsigned char *buf, size_t buf_len,
                       void (*fn)(void *ctx, const unsigned char *p, size_t n), void *ctx)
{
    struct stat st;
    cli_skip why = CLI_SKIP_COUNT;
    const int fd = openat(f->root, file->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) { return errno == ENOENT ? CLI_SKIP_VANISHED : CLI_SKIP_UNREADABLE; }
    if (fstat(fd, &st) != 0) {
        why = CLI_SKIP_UNREADABLE;
    } else if ((uint64_t)st.st_dev != file->device || (uint64_t)st.st_ino != file->inode) {
        why = CLI_SKIP_VANISHED;
    } else if (cli_changed_ns(&st) != file->changed_ns || (uint64_t)st.st_size != file->size) {
        why = CLI_SKIP_CHANGED;
    }
    uint64_t left = file->size;
    while (why == CLI_SKIP_COUNT && left > 0) {
        const ssize_t n = read(fd, buf, left < buf_len ? (size_t)left : buf_len);
        if (n < 0 && errno == EINTR) { continue; }
        if (n <= 0) {
            why = n == 0 ? CLI_SKIP_CHANGED : CLI_SKIP_UNREADABLE;
        } else {
            fn(ctx, buf, (size_t)n);
            left -= (uint64_t)n;
            if (left > 0 && cli_clock_ns() >= deadline_ns) { why = CLI_SKIP_LATE; }
        }
    }
    /* A write during the read: the bytes are a mix of two versions. */
    if (why == CLI_SKIP_COUNT && (fstat(fd, &st) != 0 || cli_changed_ns(&st) != file->changed_ns)) {
        why = CLI_SKIP_CHANGED;
    }
    close(fd);
    return why;
}
