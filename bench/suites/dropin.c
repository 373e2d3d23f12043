/* SPDX-License-Identifier: MIT
 *
 * dropin: the time to compile the pairs of the drop-in, and the sizes of their objects.
 *
 * WALK       BENCH_CC -O2 -std=c11 -c dist/cellar.c, twice, without ccache -> median of wall
 *            seconds; the object: the size of the file, and its loaded bytes (ELF sections with
 *            SHF_ALLOC, bss included). The same with every switch that omits a part ("core"):
 *            memory level, namespaces, loading, eviction. The same of dist/cellar_all.c ("all"),
 *            once.
 * FIGURES    dropin_guests       loaded bytes of "all" less those of "dropin"
 * PATIENCE   A hung compiler is ended, with the processes that it started (host_patience).
 * INPUT      environment: BENCH_CC (default cc), BENCH_DIST (default dist/cellar.c),
 *            BENCH_DIST_ALL (default dist/cellar_all.c). */
#include "bench/suites/suite.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"

#define DROPIN_REPEATS 2 /* each takes half a minute; compile times differ by some per cent */

static const char *dropin_env(const char *name, const char *fallback)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : fallback;
}

/* Return the bytes of the sections of an ELF64 object that are loaded; 0 if it is none. */
static uint64_t dropin_loaded(FILE *f)
{
    Elf64_Ehdr head;
    Elf64_Shdr section;
    uint64_t sum = 0;
    if (fread(&head, sizeof head, 1, f) != 1 || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64) {
        return 0;
    }
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        if (fseek(f, (long)(head.e_shoff + i * sizeof section), SEEK_SET) != 0 ||
            fread(&section, sizeof section, 1, f) != 1) {
            return 0;
        }
        sum += section.sh_flags & SHF_ALLOC ? section.sh_size : 0;
    }
    return sum;
}

static bool dropin_compile(const char *source, const char *object, const char *switches,
                           double *seconds, char *why, size_t why_cap)
{
    char command[1400];
    snprintf(command, sizeof command, "CCACHE_DISABLE=1 %s -std=c11 -O2 %s -c '%s' -o '%s'",
             dropin_env("BENCH_CC", "cc"), switches, source, object);
    const uint64_t start = host_wall_ns();
    const pid_t pid = host_fork();
    if (pid == 0) {
        setpgid(0, 0); /* the compiler's own children are ended with it */
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    const bool ok = host_wait(pid, why, why_cap);
    *seconds = (double)(host_wall_ns() - start) / 1e9;
    return ok;
}

/* Compile a pair; print and store its figures. *there: false if there is no source. */
static int dropin_one(const cell_options *o, const char *name, const char *source,
                      const char *switches, uint32_t repeats, double *loaded, bool *there)
{
    double seconds[DROPIN_REPEATS];
    char object[400], why[256], text[300];
    *there = access(source, R_OK) == 0;
    if (!*there) {
        snprintf(text, sizeof text, "%.200s is not there (make dist)", source);
        json_say("dropin", "cellar", name, "skip", text);
        return CELL_OK;
    }
    snprintf(object, sizeof object, "%s/dropin.o", o->scratch);
    for (uint32_t i = 0; i < repeats; i++) {
        if (!dropin_compile(source, object, switches, &seconds[i], why, sizeof why)) {
            snprintf(text, sizeof text, "does not compile: %s", why);
            json_say("dropin", "cellar", name, driver_kind(why), text);
            return CELL_WRONG;
        }
    }
    FILE *f = fopen(object, "rbe");
    if (f == NULL) { return CELL_WRONG; }
    *loaded = (double)dropin_loaded(f);
    double bytes = fseek(f, 0, SEEK_END) == 0 ? (double)ftell(f) : 0;
    fclose(f);
    printf("\n%s  (-std=c11 -O2%s, %s)\n", name, switches, dropin_env("BENCH_CC", "cc"));
    suite_say("dropin", "cellar", name, "dropin_bytes", &bytes, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_text", loaded, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_seconds", seconds, repeats, "wall", NULL);
    return CELL_OK;
}

static int dropin_run(const cell_options *o)
{
    const char *source = dropin_env("BENCH_DIST", "dist/cellar.c");
    double cache, core, all;
    bool there, all_there;
    int status = dropin_one(o, "dropin", source, "", DROPIN_REPEATS, &cache, &there);
    status |= dropin_one(o, "core", source, " -DCELLAR_OMIT_L2 -DCELLAR_OMIT_LIMIT "
                                            "-DCELLAR_OMIT_TEXT", DROPIN_REPEATS, &core, &there);
    status |= dropin_one(o, "all", dropin_env("BENCH_DIST_ALL", "dist/cellar_all.c"), "", 1, &all,
                         &all_there);
    if (status != CELL_OK || !there || !all_there) { return status; }
    double more = all - cache;
    printf("\nguests\n");
    suite_say("dropin", "cellar", "guests", "dropin_guests", &more, 1, NULL, NULL);
    return CELL_OK;
}

const bench_suite suite_dropin = { "dropin", "object sizes and compile times of the two pairs",
                                   dropin_run, NULL, NULL, false, false, 0 };
