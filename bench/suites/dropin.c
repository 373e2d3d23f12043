/* SPDX-License-Identifier: MIT
 *
 * dropin: the time to compile the two-file form, and the size of its object.
 *
 * WALK       BENCH_CC -O2 -std=c11 -c dist/cellar.c, three times -> median of wall seconds; then
 *            the object: the size of the file, and its loaded bytes (ELF sections with SHF_ALLOC,
 *            bss included). The same with every switch that omits a part ("core"): memory level,
 *            namespaces, loading, eviction.
 * PATIENCE   A hung compiler is ended, with the processes that it started (host_patience).
 * INPUT      environment: BENCH_CC (default cc), BENCH_DIST (default dist/cellar.c). */
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

#define DROPIN_REPEATS 3

static const char *dropin_env(const char *name, const char *fallback)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : fallback;
}

/* Return the loaded bytes of an ELF64 object; 0 if it is none. */
static uint64_t dropin_loaded(FILE *f)
{
    Elf64_Ehdr head;
    uint64_t sum = 0;
    if (fread(&head, sizeof head, 1, f) != 1 || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64) {
        return 0;
    }
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;
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
    snprintf(command, sizeof command, "%s -std=c11 -O2 %s -c '%s' -o '%s'",
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

static int dropin_one(const cell_options *o, const char *name, const char *switches)
{
    const char *source = dropin_env("BENCH_DIST", "dist/cellar.c");
    double seconds[DROPIN_REPEATS];
    char object[400], why[256], text[300];
    snprintf(object, sizeof object, "%s/dropin.o", o->scratch);
    if (access(source, R_OK) != 0) {
        json_say("dropin", "cellar", name, "skip", "dist/cellar.c is not there (make dist)");
        return CELL_OK;
    }
    for (uint32_t i = 0; i < DROPIN_REPEATS; i++) {
        if (!dropin_compile(source, object, switches, &seconds[i], why, sizeof why)) {
            snprintf(text, sizeof text, "does not compile: %s", why);
            json_say("dropin", "cellar", name, driver_kind(why), text);
            return CELL_WRONG;
        }
    }
    FILE *f = fopen(object, "rbe");
    if (f == NULL) {
        return CELL_WRONG;
    }
    double loaded = (double)dropin_loaded(f);
    double bytes = fseek(f, 0, SEEK_END) == 0 ? (double)ftell(f) : 0;
    fclose(f);
    printf("\n%s  (-std=c11 -O2%s, %s)\n", name, switches, dropin_env("BENCH_CC", "cc"));
    suite_say("dropin", "cellar", name, "dropin_bytes", &bytes, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_text", &loaded, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_seconds", seconds, DROPIN_REPEATS, "wall",
              NULL);
    return CELL_OK;
}

static int dropin_run(const cell_options *o)
{
    const int whole = dropin_one(o, "dropin", "");
    const int core = dropin_one(o, "core", " -DCELLAR_OMIT_L2 -DCELLAR_OMIT_LIMIT "
                                           "-DCELLAR_OMIT_WORK -DCELLAR_OMIT_KIT "
                                           "-DCELLAR_OMIT_RESP -DCELLAR_OMIT_TEXT");
    return whole != CELL_OK ? whole : core;
}

const bench_suite suite_dropin = { "dropin", "object size and compile time of the two files",
                                   dropin_run, NULL, NULL, false, false, 0 };
