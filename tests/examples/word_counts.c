/* SPDX-License-Identifier: MIT
 *
 * word_counts: a tool on the command line that keeps what it has computed for its next run.
 *
 * The tool counts the words of files. A count is kept on disk, under the identity of the file: its
 * device, number, size, and the time of its last change. A file that has changed has another key,
 * so it is counted again; the old count leaves when the disk tier is full. A count has no TTL,
 * because the same key always has the same count. Change root.version if the tool counts in another
 * way.
 *
 * One process has the folder at a time. With l2.optional a second run at the same time works in
 * memory: it counts by itself, keeps nothing, and says so on stderr. The close writes the counts. A
 * run that is killed loses its own counts, and none of earlier runs.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/word_counts.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/word_counts.c dist/cellar.c -Idist -Idist/include -pthread
 *
 *     ./a.out ~/.cache/word_counts README.md      counts
 *     ./a.out ~/.cache/word_counts README.md      finds the count of the first run
 *
 * The first argument is the folder of the cache; the tool creates it, but not its parent. It takes
 * 16 MiB of disk, and removing it is always safe. Each line of the output is a file: its words, and
 * whether they were counted or found. In your tool, replace `count` by what is slow. */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cellar_l2.h"
#include "cellar_load.h"
#include "cellar_observe.h"

typedef struct file_key {
    uint64_t device, number, size, changed_s, changed_ns; /* no padding: all bytes are the key */
} file_key;

static cellar_err count(cellar_load *load, const void *key, size_t key_len, void *path)
{
    uint64_t words = 0;
    FILE *const in = fopen(path, "r");
    (void)key;
    (void)key_len;
    if (in == NULL) { return CELLAR_E_IO; }
    for (int c = getc(in), last = ' '; c != EOF; last = c, c = getc(in)) {
        words += strchr(" \t\n", c) == NULL && strchr(" \t\n", last) != NULL;
    }
    const int failed = ferror(in);
    fclose(in);
    return failed ? CELLAR_E_IO : cellar_load_value(load, &words, sizeof words);
}

static int show(cellar *counts, char *path)
{
    struct stat st;
    uint64_t words;
    cellar_result r = cellar_result_default();
    if (stat(path, &st) != 0) { return warn("%s", path), 1; }
    const file_key key = { st.st_dev, st.st_ino, (uint64_t)st.st_size,
                           (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec };
    const cellar_err err = cellar_get_or_load(counts, &key, sizeof key, NULL, count, path, &r);
    if (err == CELLAR_OK && r.value_len == sizeof words) {
        memcpy(&words, r.value, sizeof words);
        printf("%s: %llu words, %s\n", path, (unsigned long long)words,
               r.source == CELLAR_SOURCE_LOADED ? "counted" : "found");
    } else { warnx("%s: %s", path, cellar_strerror(err)); }
    cellar_result_free(&r);
    return err != CELLAR_OK;
}

int main(int argc, char **argv)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *counts;
    int failed = 0;
    if (argc < 3) { errx(2, "usage: word_counts FOLDER FILE.."); }
    root.version = 1;
    disk.optional = 1;
    cfg.root = &root;
    cfg.l2 = &disk;
    cfg.l2_path = argv[1];
    cfg.l2_bytes = 16 << 20;
    const cellar_err err = cellar_open(&cfg, &counts);
    cellar_last_error(err == CELLAR_OK ? counts : NULL, &why); /* argument, rule and remedy */
    if (err != CELLAR_OK) { errx(1, "%s", why.text); }
    if (why.code != CELLAR_OK) { warnx("keeps nothing: %s", why.text); } /* opened in memory */
    for (int i = 2; i < argc; i++) { failed |= show(counts, argv[i]); }
    return cellar_close(counts) == CELLAR_OK ? failed : 1;
}
