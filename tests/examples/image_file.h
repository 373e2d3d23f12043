/* SPDX-License-Identifier: MIT
 *
 * image_file: a file with an ETag, and the header line Range, for image_ranges.c.
 *
 * The file is in memory here. A server has files, and a parser of HTTP, of its own. */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct image_file {
    uint64_t bytes;
    int version; /* a server takes the time and the inode of fstat() */
} image_file;

static image_file cat = { 300000, 1 };

/* Write the ETag of the file as it is now. Each change of the file changes the ETag. */
static inline void image_file_etag(const image_file *file, char etag[64])
{
    snprintf(etag, 64, "\"%d-%" PRIu64 "\"", file->version, file->bytes);
}

/* Read the file into memory of its size. */
static inline void image_file_read(const image_file *file, void *memory)
{
    memset(memory, '0' + file->version, (size_t)file->bytes);
}

/* Read the header line Range for a file of `total` bytes, and set the bytes *first to *end - 1 of
 * the answer. Return its status: 206; 416 if the file has none of these bytes; 200, the whole file,
 * if the line is empty, wrong or names several ranges. Forms: bytes=4-9, bytes=4-, and bytes=-9,
 * which are the last nine. */
static inline int range_read(const char *line, uint64_t total, uint64_t *first, uint64_t *end)
{
    static const char digits[] = "0123456789";
    *first = 0;
    *end = total;
    if (strncmp(line, "bytes=", 6) != 0) { return 200; }
    const char *const from = line + 6;
    const size_t from_digits = strspn(from, digits);
    if (from[from_digits] != '-') { return 200; }
    const char *const to = from + from_digits + 1;
    const size_t to_digits = strspn(to, digits);
    if (from_digits + to_digits == 0 || to[to_digits] != '\0') { return 200; }
    const uint64_t from_number = strtoull(from, NULL, 10); /* a number that overflows: 2^64 - 1 */
    const uint64_t to_number = to_digits > 0 ? strtoull(to, NULL, 10) : UINT64_MAX;
    if (from_digits == 0) {
        *first = to_number < total ? total - to_number : 0;
    } else if (to_number < from_number) {
        return 200;
    } else {
        *first = from_number;
        *end = to_number < total ? to_number + 1 : total;
    }
    return *first < total ? 206 : 416;
}

#endif
