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

/* Return whether a name begins with one of the words, which end with NULL. */
static bool dropin_begins(const char *name, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strncmp(name, *words, strlen(*words)) == 0) { return true; }
    }
    return false;
}

/* Count functions of three parts in a symbol table; `names` is its string table. */
static void dropin_functions(FILE *f, const Elf64_Shdr *table, const Elf64_Shdr *names,
                             suite_object *out)
{
    static const char *const kit[] = { "kit_", NULL }, *const resp[] = { "resp_", NULL };
    static const char *const work[] = { "batch_", "behind_", "bus_", "cron_", "journal_",
                                        "refresh_", "sched_", "task_", "wheel_", NULL };
    for (uint64_t at = 0; at < table->sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        char name[12] = "";
        if (fseek(f, (long)(table->sh_offset + at), SEEK_SET) != 0 ||
            fread(&symbol, sizeof symbol, 1, f) != 1) {
            return;
        }
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
            fseek(f, (long)(names->sh_offset + symbol.st_name), SEEK_SET) != 0 ||
            fread(name, 1, sizeof name - 1, f) == 0) {
            continue;
        }
        out->kit_functions += dropin_begins(name, kit);
        out->resp_functions += dropin_begins(name, resp);
        out->work_functions += dropin_begins(name, work);
    }
}

/* Read what the sections of an ELF64 object say; all zero if it is none. */
static void dropin_read(FILE *f, suite_object *out)
{
    Elf64_Ehdr head;
    Elf64_Shdr section, names;
    *out = (suite_object){ 0 };
    if (fread(&head, sizeof head, 1, f) != 1 || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64) {
        return;
    }
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        if (fseek(f, (long)(head.e_shoff + i * sizeof section), SEEK_SET) != 0 ||
            fread(&section, sizeof section, 1, f) != 1) {
            return;
        }
        out->loaded_bytes += section.sh_flags & SHF_ALLOC ? section.sh_size : 0;
        if (section.sh_type == SHT_SYMTAB &&
            fseek(f, (long)(head.e_shoff + section.sh_link * sizeof names), SEEK_SET) == 0 &&
            fread(&names, sizeof names, 1, f) == 1) {
            dropin_functions(f, &section, &names, out);
        }
    }
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

/* Compile the drop-in `repeats` times into `object`; CELL_OK, or the status after a line with the
 * reason. *there: false if there is no source. */
static int dropin_build(const cell_options *o, const char *bench, const char *name,
                        const char *switches, char object[400], double *seconds, uint32_t repeats,
                        bool *there)
{
    const char *source = dropin_env("BENCH_DIST", "dist/cellar.c");
    char why[256], text[300];
    snprintf(object, 400, "%s/dropin.o", o->scratch);
    *there = access(source, R_OK) == 0;
    if (!*there) {
        json_say(bench, "cellar", name, "skip", "dist/cellar.c is not there (make dist)");
        return CELL_OK;
    }
    for (uint32_t i = 0; i < repeats; i++) {
        if (!dropin_compile(source, object, switches, &seconds[i], why, sizeof why)) {
            snprintf(text, sizeof text, "does not compile: %s", why);
            json_say(bench, "cellar", name, driver_kind(why), text);
            return CELL_WRONG;
        }
    }
    return CELL_OK;
}

bool suite_dropin_object(const cell_options *o, const char *bench, const char *switches,
                         suite_object *out)
{
    char object[400];
    double seconds;
    bool there;
    const int status = dropin_build(o, bench, "dropin", switches, object, &seconds, 1, &there);
    FILE *f = status == CELL_OK && there ? fopen(object, "rbe") : NULL;
    if (f == NULL) { return false; }
    dropin_read(f, out);
    fclose(f);
    return true;
}

static int dropin_one(const cell_options *o, const char *name, const char *switches)
{
    double seconds[DROPIN_REPEATS];
    char object[400];
    suite_object found;
    bool there;
    const int status = dropin_build(o, "dropin", name, switches, object, seconds, DROPIN_REPEATS,
                                    &there);
    if (status != CELL_OK || !there) { return status; }
    FILE *f = fopen(object, "rbe");
    if (f == NULL) {
        return CELL_WRONG;
    }
    dropin_read(f, &found);
    double loaded = (double)found.loaded_bytes;
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
