/* SPDX-License-Identifier: MIT
 *
 * walk: list the regular files below a folder in sorted order, and read one of them. */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

/* Reasons to skip a file or folder: id, text for the table. */
#define CLI_SKIPS(X) \
    X(EMPTY, "empty") X(UNREADABLE, "unreadable") X(VANISHED, "vanished") X(SPECIAL, "special") \
    X(SYMLINK, "symlinks") X(LARGE, "too large") X(DEEP, "too deep") X(ELSEWHERE, "other mounts") \
    X(CHANGED, "changed meanwhile") X(LATE, "out of time")

typedef enum cli_skip {
#define CLI_X(id, words) CLI_SKIP_##id,
    CLI_SKIPS(CLI_X)
#undef CLI_X
    CLI_SKIP_COUNT
} cli_skip;

typedef struct cli_file {
    char *path;      /* below the folder; owned by the list */
    uint64_t size;   /* bytes when it was found */
    uint64_t device, inode;
    int64_t changed_ns; /* the later of mtime and ctime; differs after a write */
} cli_file;

typedef enum cli_cut { CLI_CUT_NONE, CLI_CUT_FILES, CLI_CUT_BYTES, CLI_CUT_TIME } cli_cut;

typedef struct cli_limits {
    uint64_t files, bytes; /* UINT64_MAX: none */
    uint64_t deadline_ns;  /* of cli_clock_ns */
} cli_limits;

typedef struct cli_files {
    int root;        /* descriptor of the folder; -1 when closed */
    cli_file *file; /* sorted folder by folder, by name */
    size_t count, room;
    uint64_t bytes;  /* sum of the sizes */
    uint64_t skipped[CLI_SKIP_COUNT];
    cli_cut cut;    /* which limit ended the list */
} cli_files;

/* Open `folder` and list the files below it. Return 0, an errno of the folder itself, or ENOMEM. */
int cli_files_open(cli_files *f, const char *folder, const cli_limits *limits);
void cli_files_close(cli_files *f);

/* Pass the bytes of a file to `fn`, piece by piece, through `buf`. Return CLI_SKIP_COUNT if all
 * were read, else the reason; CLI_SKIP_LATE if the deadline passed. */
cli_skip cli_file_read(const cli_files *f, const cli_file *file, uint64_t deadline_ns,
                       unsigned char *buf, size_t buf_len,
                       void (*fn)(void *ctx, const unsigned char *p, size_t n), void *ctx);

/* Return the monotonic time in nanoseconds. */
uint64_t cli_clock_ns(void);

#endif
