/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer the header line Range from a cached image. The part alone is copied; from
 * the disk tier a part of a large image is read without the rest. The ETag of the file is the key,
 * so parts of two versions are never joined; entries of old versions are evicted unused. Ranges are
 * bytes=a-b, bytes=a- and bytes=-n, the last n; the answer to others, and without a Range, is 200
 * with the whole. An image that is new or was evicted is read from its file, once for all threads
 * that ask; 404 says that there is no file. A whole image is pinned until it is sent: each client
 * that reads slowly keeps up to 1 MiB of the budget from reuse, so give clients a time limit.
 *
 *     cc -O2 image_ranges.c -lcellar -pthread
 *     drop-in: cc -O2 image_ranges.c dist/cellar.c -Idist -Idist/include -pthread */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_load.h"

static struct { uint64_t len; int version; } cat = { 300000, 1 }; /* a program calls stat() */
static cellar_err image_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    void *room; /* of the value, filled in place */
    (void)key, (void)key_len, (void)ctx;
    if (cellar_buf_resize(cellar_load_buf(load), cat.len, &room) != 0) { return CELLAR_E_NOMEM; }
    return memset(room, '0' + cat.version, cat.len), CELLAR_OK; /* or read() */
}

static int range_read(const char *range, uint64_t total, uint64_t *first, uint64_t *end)
{
    const char *const s = strncmp(range, "bytes=", 6) == 0 ? range + 6 : "";
    const size_t a = strspn(s, "0123456789"), b = s[a] == '-' ? strspn(s + a + 1, "0123456789") : 0;
    if (a + b == 0 || s[a] != '-' || s[a + 1 + b] != '\0') { return 200; }
    const uint64_t last = b > 0 ? strtoull(s + a + 1, NULL, 10) : UINT64_MAX;
    if (a > 0 && last < strtoull(s, NULL, 10)) { return 200; }
    *first = a > 0 ? strtoull(s, NULL, 10) : total - (last < total ? last : total);
    *end = a > 0 && last < total ? last + 1 : total;
    return *first < total ? 206 : 416;
}

static int image_answer(cellar *c, const char *range, const char *if_range)
{
    char etag[80], part[65536];
    const char *from = part;
    uint64_t first = 0, end = cat.len;
    cellar_load_opts pin = cellar_load_opts_default();
    cellar_result all = cellar_result_default();
    if (cat.version == 0) { return 404; }
    size_t total, n = (size_t)snprintf(etag, 80, "\"cat-%d-%d\"", cat.version, (int)cat.len);
    const int changed = *if_range != '\0' && strcmp(if_range, etag) != 0;
    const int code = changed ? 200 : range_read(range, cat.len, &first, &end);
    if (code == 416) { return code; } /* it names the length in Content-Range */
    if (code == 206 && end - first > sizeof part) { end = first + sizeof part; }
    if (code == 200 || cellar_get_range(c, etag, n, first, part, end - first, &total) != 0) {
        pin.flags = CELLAR_LOAD_PIN; /* in place, if it is in memory */
        if (cellar_get_or_load(c, etag, n, &pin, image_load, NULL, &all) < 0) { return 503; }
        if (all.value == NULL) { return 404; } /* ABSENT; else OK or STALE */
        from = (const char *)all.value + first;
    }
    printf("%s %d-%d/%d: %c ", etag, (int)first, (int)end - 1, (int)cat.len, *from);
    return cellar_result_free(&all), code;
}

int main(void)
{
    static const char *const ask[][2] = { { "", "" }, { "bytes=0-99", "" }, { "bytes=9-", "" },
        { "bytes=-500", "" }, { "bytes=-0", "" }, { "bytes=9-1", "" }, { "bytes=0-0,5-5", "" },
        { "bytes=100-", "\"cat-1-300000\"" }, { "bytes=100-", "\"cat-2-300000\"" }, { "no", "" } };
    cellar *c;
    const cellar_err err = cellar_open(NULL, &c);
    if (err != CELLAR_OK) { return fprintf(stderr, "%s\n", cellar_strerror(err)), 1; }
    for (int i = 0; i < 10; i++) { /* the eighth client has bytes 0-99 of version 1 */
        cat.version = i < 7 ? 1 : i < 9 ? 2 : 0;
        printf("%d %s\n", image_answer(c, ask[i][0], ask[i][1]), ask[i][0]);
    }
    return cellar_close(c) == CELLAR_OK ? 0 : 1;
}
