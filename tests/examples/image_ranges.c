/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer the header line Range from a cached image. The part alone is copied; from
 * the disk tier a part of a large image is read without the rest. The first bytes of each value are
 * its ETag: a client that sends it as If-Range never joins parts of two versions. Ranges are
 * bytes=a-b, bytes=a- and bytes=-n, the last n; the answer to others is 200 with the whole.
 *
 *     cc -O2 image_ranges.c -lcellar -pthread
 *     drop-in: cc -O2 image_ranges.c dist/cellar.c -Idist -Idist/include -pthread */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"

enum { IMAGE_LEN = 300000, PART_MAX = 65536, ETAG_LEN = 16 };
static cellar_err image_store(cellar *images, const char *name, int version)
{
    cellar_pinned room; /* memory of the new entry, filled in place: no copy of the image */
    cellar_err err = cellar_reserve(images, ETAG_LEN + IMAGE_LEN, &room);
    if (err != CELLAR_OK) { return err; }
    char *const to = (void *)(uintptr_t)room.value; /* a program reads a file into it */
    snprintf(to, ETAG_LEN, "\"%013d\"", version), memset(to + ETAG_LEN, '0' + version, IMAGE_LEN);
    err = cellar_set(images, name, strlen(name), room.value, room.value_len, NULL);
    cellar_unpin(&room);
    return err;
}

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

static void image_answer(cellar *c, const char *name, const char *range, const char *if_range)
{
    char etag[ETAG_LEN] = "", again[ETAG_LEN] = "", part[PART_MAX] = "-";
    uint64_t first = 0, end = 0;
    size_t len = 0; /* of ETag and image */
    cellar_err err = cellar_get_range(c, name, strlen(name), 0, etag, ETAG_LEN, &len);
    int code = err < 0 ? 503 : err != CELLAR_OK ? 404 :
               *if_range != '\0' && strcmp(if_range, etag) != 0 ? 200 : /* another version */
               range_read(range, len - ETAG_LEN, &first, &end);
    if (code == 206) {
        end = end - first < PART_MAX ? end : first + PART_MAX; /* the client asks for the rest */
        err = cellar_get_range(c, name, strlen(name), ETAG_LEN + first, part, end - first, &len);
        if (err == CELLAR_OK) { cellar_get_range(c, name, strlen(name), 0, again, 16, &len); }
        if (strcmp(again, etag) != 0) { code = 503; } /* it was changed or evicted meanwhile */
    } /* Content-Range: bytes first-(end - 1)/(len - ETAG_LEN) */
    printf("%s: %d %s %d-%d %c\n", range, code, etag, (int)first, (int)end - 1, *part);
}

int main(void)
{
    static const char *const ranges[] = { "bytes=0-99", "bytes=299999-", "bytes=100000-",
        "bytes=300000-300001", "bytes=-500", "bytes=-0", "bytes=9-1", "bytes=0-0,5-5", "none" };
    cellar_error_info why = cellar_error_info_default();
    cellar *images;
    if (cellar_open(NULL, &images) != CELLAR_OK || image_store(images, "cat", 1) != CELLAR_OK) {
        return cellar_last_error(images, &why), fprintf(stderr, "%s\n", why.text), 1;
    }
    for (int i = 0; i < 9; i++) { image_answer(images, "cat", ranges[i], ""); }
    image_answer(images, "dog", "bytes=0-99", ""), image_store(images, "cat", 2);
    image_answer(images, "cat", "bytes=100-", "\"0000000000001\""); /* 0-99 are old: 200 */
    image_answer(images, "cat", "bytes=100-", "\"0000000000002\"");
    return cellar_close(images) == CELLAR_OK ? 0 : 1;
}
