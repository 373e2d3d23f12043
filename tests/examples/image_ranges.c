/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer the header line Range from a cached image. The part alone is copied; from
 * the disk tier a part of a large image is read without the rest. A whole image is sent in place.
 * The ETag of the file is in the key, so parts of two versions are never joined; entries of old
 * versions are evicted unused. Ranges are bytes=a-b, bytes=a- and bytes=-n, the last n; the answer
 * to others, and without a Range, is 200 with the whole. An image that is new or was evicted is
 * read from its file; 404 says that there is no file.
 *
 *     cc -O2 image_ranges.c -lcellar -pthread
 *     drop-in: cc -O2 image_ranges.c dist/cellar.c -Idist -Idist/include -pthread */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"

static struct { uint64_t len; int version; } cat = { 300000, 1 }; /* a program calls stat() */

static cellar_err image_store(cellar *images, const char *key)
{
    cellar_pinned room; /* memory of the new entry, filled in place: no copy of the image */
    if (cellar_reserve(images, cat.len, &room) != CELLAR_OK) { return CELLAR_E_SPACE; }
    memset((void *)(uintptr_t)room.value, '0' + cat.version, cat.len); /* or read() */
    const cellar_err err = cellar_set(images, key, strlen(key), room.value, room.value_len, NULL);
    return cellar_unpin(&room), err;
}

static int range_read(const char *range, uint64_t total, uint64_t *first, uint64_t *end)
{
    const char *const from = strncmp(range, "bytes=", 6) == 0 ? range + 6 : "";
    const size_t a = strspn(from, "0123456789"),
                 b = from[a] == '-' ? strspn(from + a + 1, "0123456789") : 0;
    if (a + b == 0 || from[a] != '-' || from[a + 1 + b] != '\0') { return 200; }
    const uint64_t last = b > 0 ? strtoull(from + a + 1, NULL, 10) : UINT64_MAX;
    if (a > 0 && last < strtoull(from, NULL, 10)) { return 200; }
    *first = a > 0 ? strtoull(from, NULL, 10) : total - (last < total ? last : total);
    *end = a > 0 && last < total ? last + 1 : total;
    return *first < total ? 206 : 416;
}

static int image_answer(cellar *c, const char *range, const char *if_range)
{
    char key[80], part[65536], *const etag = key + 4;
    const size_t n = (size_t)snprintf(key, 80, "cat \"%d-%d\"", cat.version, (int)cat.len);
    uint64_t first = 0, end = cat.len;
    cellar_pinned all = { 0 };
    cellar_err err = CELLAR_MISS;
    const int code = cat.version == 0 ? 404 : *if_range != 0 && strcmp(if_range, etag) != 0 ? 200 :
                     range_read(range, cat.len, &first, &end);
    if (code >= 404) { return code; } /* 416 names the length in Content-Range */
    if (code == 206 && end - first > sizeof part) { end = first + sizeof part; }
    for (int i = 0; i < 2 && err == CELLAR_MISS && (i == 0 || image_store(c, key) == 0); i++) {
        err = code == 200 ? cellar_pin(c, key, n, &all) :
              cellar_get_range(c, key, n, first, part, end - first, &(size_t){ 0 });
    }
    if (err != CELLAR_OK) { return 503; } /* or send the file itself */
    printf("%s %d-%d/%d: %c ", etag, (int)first, (int)end - 1, (int)cat.len, /* Content-Range */
           code == 200 ? *(const char *)all.value : *part);
    return cellar_unpin(&all), code;
}

int main(void)
{
    static const char *const ask[][2] = { { "", "" }, { "bytes=0-99", "" }, { "bytes=9-", "" },
        { "bytes=-500", "" }, { "bytes=-0", "" }, { "bytes=9-1", "" }, { "bytes=0-0,5-5", "" },
        { "bytes=100-", "\"1-300000\"" }, { "bytes=100-", "\"2-300000\"" }, { "none", "" } };
    cellar *c;
    if (cellar_open(NULL, &c) != CELLAR_OK) { return fputs("no memory\n", stderr), 1; }
    for (int i = 0; i < 10; i++) { /* the eighth client has bytes 0-99 of version 1 */
        cat.version = i < 7 ? 1 : i < 9 ? 2 : 0;
        printf("%d %s\n", image_answer(c, ask[i][0], ask[i][1]), ask[i][0]);
    }
    return cellar_close(c) == CELLAR_OK ? 0 : 1;
}
