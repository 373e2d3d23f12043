/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer "Range: bytes=a-b" from a cached image. The part alone is copied; from the
 * disk tier a part of a large image is read without the rest.
 *
 *     cc -O2 image_ranges.c -lcellar -pthread */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cellar_entry.h"

enum { IMAGE_BYTES = 300000, PART_MAX = 65536 };

/* Fill the memory of the new entry in place: no copy of the image. */
static cellar_err image_store(cellar *images, const char *name)
{
    cellar_pinned room;
    cellar_err err = cellar_reserve(images, IMAGE_BYTES, &room);
    if (err != CELLAR_OK) { return err; }
    unsigned char *const pixel = (void *)(uintptr_t)room.value; /* a program reads a file here */
    for (int i = 0; i < IMAGE_BYTES; i++) { pixel[i] = (unsigned char)i; }
    err = cellar_set(images, name, strlen(name), room.value, room.value_len, NULL);
    cellar_unpin(&room);
    return err;
}

/* Answer a request; range: "bytes=a-b" or "bytes=a-". Of others a server sends the whole image. */
static void image_answer(cellar *images, const char *name, const char *range)
{
    unsigned char part[PART_MAX];
    uint64_t first = 0, last = UINT64_MAX;
    size_t total = 0;
    const int numbers = sscanf(range, "bytes=%" SCNu64 "-%" SCNu64, &first, &last);
    const uint64_t want = last - first < PART_MAX ? last - first + 1 : PART_MAX;
    if (numbers < 1 || last < first) {
        printf("%s: 400\n", range);
    } else if (cellar_get_range(images, name, strlen(name), first, part, want, &total) != 0) {
        printf("%s: 404\n", range); /* or load it: cellar_get_or_load */
    } else if (first >= total) {
        printf("%s: 416, Content-Range: bytes */%zu\n", range, total);
    } else {
        const uint64_t end = first + want < total ? first + want : total;
        printf("%s: 206, Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%zu, first byte %d\n", range,
               first, end - 1, total, part[0]);
    }
}

int main(void)
{
    cellar *images;
    if (cellar_open(NULL, &images) != CELLAR_OK || image_store(images, "cat") < 0) { return 1; }
    image_answer(images, "cat", "bytes=0-99");
    image_answer(images, "cat", "bytes=299999-");
    image_answer(images, "cat", "bytes=100000-");
    image_answer(images, "cat", "bytes=300000-300001");
    image_answer(images, "cat", "bytes=9-1");
    image_answer(images, "dog", "bytes=0-99");
    return cellar_close(images) == CELLAR_OK ? 0 : 1;
}
