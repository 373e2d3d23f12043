/* SPDX-License-Identifier: MIT
 *
 * sequential: one thread that writes keys and values into one file; the yardstick of `l2_put`. */
#include "bench/peers/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_SEQ_BLOCK ((size_t)1 << 20)
#define DISK_SEQ_PAGE ((size_t)4096)

typedef struct disk_seq {
    unsigned char *block;
    size_t used;  /* of the block */
    uint64_t at;  /* in the file */
    int fd;
} disk_seq;

static void disk_seq_close(void *store)
{
    disk_seq *s = store;
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    free(s->block);
    free(s);
}

static void *disk_seq_open(const disk_cfg *cfg)
{
    char path[600];
    const int how = O_RDWR | O_CREAT | O_CLOEXEC;
    disk_seq *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    snprintf(path, sizeof path, "%s/data", cfg->dir);
    s->block = aligned_alloc(DISK_SEQ_PAGE, DISK_SEQ_BLOCK);
    s->fd = open(path, how | O_DIRECT, 0600);
    s->fd = s->fd >= 0 ? s->fd : open(path, how, 0600);
    if (s->block == NULL || s->fd < 0 ||
        posix_fallocate(s->fd, 0, (off_t)(cfg->bytes + DISK_SEQ_BLOCK)) != 0) {
        disk_seq_close(s);
        return NULL;
    }
    return s;
}

/* Write the first `n` bytes of the block. */
static bool disk_seq_write(disk_seq *s, size_t n)
{
    for (size_t put = 0; put < n;) {
        const ssize_t done = pwrite(s->fd, s->block + put, n - put, (off_t)(s->at + put));
        if (done <= 0) {
            return false;
        }
        put += (size_t)done;
    }
    s->at += n;
    s->used = 0;
    return true;
}

static bool disk_seq_append(disk_seq *s, const unsigned char *bytes, size_t n)
{
    while (n > 0) {
        const size_t room = DISK_SEQ_BLOCK - s->used, part = n < room ? n : room;
        memcpy(s->block + s->used, bytes, part);
        s->used += part;
        bytes += part;
        n -= part;
        if (s->used == DISK_SEQ_BLOCK && !disk_seq_write(s, DISK_SEQ_BLOCK)) {
            return false;
        }
    }
    return true;
}

static bool disk_seq_put(void *store, const void *key, size_t key_len, const void *value,
                         size_t value_len)
{
    return disk_seq_append(store, key, key_len) && disk_seq_append(store, value, value_len);
}

static bool disk_seq_settle(void *store)
{
    disk_seq *s = store;
    const size_t n = (s->used + DISK_SEQ_PAGE - 1) / DISK_SEQ_PAGE * DISK_SEQ_PAGE;
    return (n == 0 || disk_seq_write(s, n)) && fdatasync(s->fd) == 0;
}

const disk_subject disk_sequential = { "sequential", "1", false, disk_seq_open, disk_seq_close,
                                       disk_seq_put, NULL, disk_seq_settle };
