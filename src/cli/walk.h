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
#define GATE_SKIPS(X) \
    X(EMPTY, "empty") X(UNREADABLE, "unreadable") X(VANISHED, "vanished") X(SPECIAL, "special") \
    X(SYMLINK, "symlinks") X(LARGE, "too large") X(DEEP, "too deep") X(ELSEWHERE, "other mounts") \
    X(CHANGED, "changed meanwhile") X(LATE, "out of time")

typedef enum gate_skip {
#define GATE_X(id, words) GATE_SKIP_##id,
    GATE_SKIPS(GATE_X)
#undef GATE_X
    GATE_SKIP_COUNT
} gate_skip;

typedef struct gate_file {
    char *path;      /* below the folder; owned by the list */
    uint64_t size;   /* bytes when it was found */
    uint64_t device, inode;
    int64_t changed_ns; /* the later of mtime and ctime; differs after a write */
} gate_file;

typedef enum gate_cut { GATE_CUT_NONE, GATE_CUT_FILES, GATE_CUT_BYTES, GATE_CUT_TIME } gate_cut;

typedef struct gate_limits {
    uint64_t files, bytes; /* UINT64_MAX: none */
    uint64_t deadline_ns;  /* of gate_clock_ns */
} gate_limits;

typedef struct gate_files {
    int root;        /* descriptor of the folder; -1 when closed */
    gate_file *file; /* sorted folder by folder, by name */
    size_t count, room;
    uint64_t bytes;  /* sum of the sizes */
    uint64_t skipped[GATE_SKIP_COUNT];
    gate_cut cut;    /* which limit ended the list */
} gate_files;

/* Open `folder` and list the files below it. Return 0, an errno of the folder itself, or ENOMEM. */
int gate_files_open(gate_files *f, const char *folder, const gate_limits *limits);
void gate_files_close(gate_files *f);

/* Pass the bytes of a file to `fn`, piece by piece, through `buf`. Return GATE_SKIP_COUNT if all
 * were read, else the reason; GATE_SKIP_LATE if the deadline passed. */
gate_skip gate_file_read(const gate_files *f, const gate_file *file, uint64_t deadline_ns,
                         unsigned char *buf, size_t buf_len,
                         void (*fn)(void *ctx, const unsigned char *p, size_t n), void *ctx);

/* Return the monotonic time in nanoseconds. */
uint64_t gate_clock_ns(void);

#endif
