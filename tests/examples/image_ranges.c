/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer the header line Range from a cached image. The part alone is copied; from the
 * disk tier a part of a large image is read without the rest.
 *
 *     cc -O2 image_ranges.c -lcellar -pthread */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"

enum { IMAGE_BYTES = 300000, PART_MAX = 65536 };

/* Fill the memory of the new entry in place: no copy of the image. */
static cellar_err image_store(cellar *images, const char *name)
{
    cellar_pinned room;
    cellar_err err = cellar_reserve(images, IMAGE_BYTES, &room);
    if (err != CELLAR_OK) { return err; }
    unsigned char *const to = (void *)(uintptr_t)room.value; /* a program reads a file here */
    for (int i = 0; i < IMAGE_BYTES; i++) { to[i] = (unsigned char)i; }
    err = cellar_set(images, name, strlen(name), room.value, room.value_len, NULL);
    cellar_unpin(&room);
    return err;
}

/* Read bytes=a-b, bytes=a- or bytes=-n, the last n. Return 206, 416; 200, the whole, for others. */
static int range_read(const char *range, uint64_t total, uint64_t *first, uint64_t *end)
{
    const char *const from = strncmp(range, "bytes=", 6) == 0 ? range + 6 : "";
    const size_t a = strspn(from, "0123456789");
    const size_t b = from[a] == '-' ? strspn(from + a + 1, "0123456789") : 0;
    if (a + b == 0 || from[a] != '-' || from[a + 1 + b] != '\0') { return 200; }
    const uint64_t last = b > 0 ? strtoull(from + a + 1, NULL, 10) : UINT64_MAX;
    *first = a > 0 ? strtoull(from, NULL, 10) : total - (last < total ? last : total);
    *end = a > 0 && last < total ? last + 1 : total;
    return a > 0 && last < *first ? 200 : *first < total ? 206 : 416;
}

static void image_answer(cellar *images, const char *name, const char *range)
{
    unsigned char part[PART_MAX];
    uint64_t first = 0, end = 0;
    size_t total = 0, now = 0; /* the length */
    cellar_err err = cellar_get_range(images, name, strlen(name), 0, NULL, 0, &total);
    int code = err == CELLAR_OK ? range_read(range, total, &first, &end) : err > 0 ? 404 : 503;
    if (code == 206) {
        end = end - first < PART_MAX ? end : first + PART_MAX;
        err = cellar_get_range(images, name, strlen(name), first, part, end - first, &now);
        if (err != CELLAR_OK || now != total) { code = 503; } /* it was changed meanwhile */
    }
    if (code == 206) {
        printf("%s: 206, Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%zu, first byte %d\n", range,
               first, end - 1, total, part[0]);
    } else { /* 416: Content-Range has the length alone; 404: or load it, cellar_get_or_load */
        printf("%s: %d, length %zu\n", range, code, total);
    }
}

int main(void)
{
    static const char *const ranges[] = { "bytes=0-99", "bytes=299999-", "bytes=100000-",
        "bytes=300000-300001", "bytes=-500", "bytes=-0", "bytes=9-1", "bytes=0-0,5-5", "none" };
    cellar *images;
    if (cellar_open(NULL, &images) != CELLAR_OK || image_store(images, "cat") < 0) { return 1; }
    for (int i = 0; i < 9; i++) { image_answer(images, "cat", ranges[i]); }
    image_answer(images, "dog", "bytes=0-99");
    return cellar_close(images) == CELLAR_OK ? 0 : 1;
}
