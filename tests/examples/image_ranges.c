/* SPDX-License-Identifier: MIT
 *
 * image_ranges: answer requests for parts of a cached image, as a video player or a browser that
 * continues a download sends them.
 *
 * The program copies 64 KiB at a time with cellar_get_range and sends them. No other byte of the
 * image is copied, and of a large image in the disk tier no other byte is read. Nothing of the
 * cache is held while a part is sent, so a client that reads slowly keeps no memory from reuse.
 *
 * The key is the ETag of the file, and a new version of the file has another ETag. So the parts of
 * an answer are always of one version, and nothing has to be deleted: old versions are evicted,
 * because no request uses them. A client that continues a download names its ETag in If-Range. If
 * the file has changed since, it gets the whole new file.
 *
 * If the image is missing, one thread reads the file, and other threads wait for it. The loader
 * compares the ETag first: the file may have been replaced after the request began. Replace files
 * by rename: then a descriptor has the ETag and the bytes of one version.
 *
 * Cache only images that are small beside the memory budget. Send larger ones as open_files.c does.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/image_ranges.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/image_ranges.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * Each line of the output is a request: its Range, the status, and what is sent. In your program,
 * replace image_file.h by your files, and print no part, but write it to the client. */
#include <err.h>
#include <stdbool.h>

#include "cellar_entry.h"
#include "cellar_load.h"
#include "image_file.h"

static cellar_err image_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    char etag[64];
    void *memory; /* of the value: the file is read into its place */
    image_file_etag(ctx, etag); /* open() and fstat() here, and read from that descriptor */
    if (strlen(etag) != key_len || memcmp(etag, key, key_len) != 0) { return CELLAR_E_LOADER; }
    const cellar_err err = cellar_buf_resize(cellar_load_buf(load), cat.bytes, &memory);
    if (err == CELLAR_OK) { image_file_read(ctx, memory); }
    return err;
}

static bool part_get(cellar *images, const char *etag, uint64_t first, char *part, size_t len)
{
    size_t total;
    cellar_result whole = cellar_result_default();
    cellar_err err = cellar_get_range(images, etag, strlen(etag), first, part, len, &total);
    if (err == CELLAR_OK) { return total >= first + len; }
    err = cellar_get_or_load(images, etag, strlen(etag), NULL, image_load, &cat, &whole);
    const bool ok = err >= 0 && whole.value_len >= first + len;
    if (ok) { memcpy(part, (const char *)whole.value + first, len); }
    if (!ok) { warnx("image %s: %s", etag, cellar_strerror(err)); }
    cellar_result_free(&whole);
    return ok;
}

static void answer(cellar *images, const char *range, const char *if_range)
{
    char etag[64], part[65536];
    uint64_t first, end;
    const image_file now = cat; /* one fstat() for all of the answer */
    image_file_etag(&now, etag);
    const bool changed = *if_range != '\0' && strcmp(if_range, etag) != 0;
    const int status = range_read(changed ? "" : range, now.bytes, &first, &end);
    printf("%s: %d", range, status);
    for (size_t len; status != 416 && first < end; first += len) {
        len = end - first < sizeof part ? end - first : sizeof part;
        if (!part_get(images, etag, first, part, len)) { break; } /* and end the connection */
        printf(" %d-%d:%c", (int)first, (int)(first + len - 1), *part);
    }
    puts("");
}

int main(void)
{
    static const char *const ask[][2] = { { "bytes=0-99", "" }, { "", "" }, { "bytes=9-", "" },
        { "bytes=-500", "" }, { "bytes=-0", "" }, { "bytes=9-1", "" }, { "bytes=0-0,5-5", "" },
        { "bytes=100-199", "\"1-300000\"" }, { "bytes=100-199", "\"2-300000\"" } };
    cellar_error_info why = cellar_error_info_default();
    cellar *images;
    if (cellar_open(NULL, &images) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text);
    }
    for (int i = 0; i < 9; i++) {
        cat.version = i < 7 ? 1 : 2; /* replaced after seven requests */
        answer(images, ask[i][0], ask[i][1]);
    }
    return cellar_close(images) == CELLAR_OK ? 0 : 1;
}
