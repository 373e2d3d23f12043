/* SPDX-License-Identifier: MIT
 *
 * replay_options: the options of `cellar replay`, and the command. */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "bench/replay/replay_print.h"

static bool replay_parse_policies(char *text, replay_options *o)
{
    o->policy_count = 0;
    for (char *at = text, *next; at != NULL; at = next) {
        next = strchr(at, ',');
        if (next != NULL) { *next++ = '\0'; }
        unsigned p = 0;
        while (p < replay_policy_count && !replay_is(&replay_policies[p], at)) { p++; }
        for (unsigned i = 0; i < o->policy_count; i++) {
            if (o->policy[i] == p) { p = replay_policy_count; }
        }
        if (p == replay_policy_count) { return false; }
        o->policy[o->policy_count++] = p;
    }
    return true;
}

static bool replay_parse_capacities(char *text, replay_options *o)
{
    o->capacity_count = 0;
    o->default_capacities = false;
    for (char *at = text, *next; at != NULL; at = next) {
        next = strchr(at, ',');
        if (next != NULL) { *next++ = '\0'; }
        if (o->capacity_count == REPLAY_CAPACITIES_MAX) { return false; }
        replay_capacity *c = &o->capacity[o->capacity_count++];
        *c = (replay_capacity){ 0 };
        const size_t n = strlen(at);
        if (n > 1 && at[n - 1] == '%') {
            char *end;
            c->share = true;
            c->fraction = strtod(at, &end) / 100;
            if (end != at + n - 1 || !(c->fraction >= 0 && c->fraction <= 1)) { return false; }
        } else if (!cli_parse_bytes(at, &c->value)) {
            return false;
        }
    }
    return true;
}

static bool replay_parse_unit(const char *text, int64_t *per_second)
{
    static const struct { const char *name; int64_t per_second; } unit[] = {
        { "s", 1 }, { "ms", 1000 }, { "us", 1000000 }, { "ns", 1000000000 } };
    for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++) {
        if (strcmp(text, unit[i].name) != 0) { continue; }
        *per_second = unit[i].per_second;
        return true;
    }
    return false;
}

/* Return the rule of --policy, with the names of this build. */
static const char *replay_policy_rule(void)
{
    static char rule[40 + REPLAY_POLICIES * 24] = "--policy must be different names of";
    for (unsigned i = 0; i < replay_policy_count; i++) {
        const size_t n = strlen(rule);
        (void)snprintf(rule + n, sizeof rule - n, "%s %s", i != 0 ? "," : "", replay_policies[i].name);
    }
    return rule;
}

/* Read the value of one option from optarg. Return NULL, or the rule that the value breaks. */
static const char *replay_parse_one(int c, replay_options *o)
{
    switch (c) {
    case 'j': o->json = optarg; return NULL;
    case 'x': o->csv = optarg; return NULL;
    case 'g': o->plot = optarg; return NULL;
    case 'w': o->write = optarg; return NULL;
    case 'a': o->advisor = true; return NULL;
    case 'r': o->mrc = true; return NULL;
    case 'E':
        return cli_parse_count(optarg, 1, UINT32_MAX, &o->every) ? NULL
            : "--every must be 1..4294967295 requests";
    case 'W': {
        char *end;
        o->warm = strtod(optarg, &end) / 100;
        return end != optarg && strcmp(end, "%") == 0 && o->warm >= 0 && o->warm < 1 ? NULL
            : "--warm must be a share of 0..99 % (20%)";
    }
    case 'J':
        return cli_parse_count(optarg, 1, REPLAY_THREADS_MAX, &o->jobs) ? NULL
            : "--jobs must be 1..64";
    case 'p':
        return replay_parse_policies(optarg, o) ? NULL : replay_policy_rule();
    case 'c':
        return replay_parse_capacities(optarg, o) ? NULL
            : "--capacity must be numbers (4096, 64M) or shares of 0..100 % (0.1%, 5%), with "
              "commas between";
    case 'v':
        o->objects = strcmp(optarg, "objects") == 0;
        return o->objects || strcmp(optarg, "bytes") == 0 ? NULL
            : "--favor must be bytes or objects";
    case 'm':
        o->byte_mode = strcmp(optarg, "byte") == 0;
        o->budget = strcmp(optarg, "budget") == 0;
        return o->byte_mode || o->budget || strcmp(optarg, "object") == 0 ? NULL
            : "--mode must be object, byte or budget";
    case 'f':
        return cli_trace_format_of(optarg, &o->how.format) ? NULL
            : "--format must be ctr, oracle, vscsi, lis, twitter, csv, json, txt or auto";
    case 'k':
        return cli_trace_columns_of(optarg, &o->how) ? NULL
            : "--columns must be names of time, key, size, ttl, op, count and -, in the order of "
              "the file, with key among them; or COLUMN=NAME for names in its first line";
    case 'u':
        return replay_parse_unit(optarg, &o->how.per_second) ? NULL
            : "--time-unit must be s, ms, us or ns";
    case 'l':
        return cli_parse_count(optarg, 1, CELLAR_VALUE_MAX, &o->how.block) ? NULL
            : "--block must be 1..1073741823";
    case 'e': o->mean = true; return NULL;
    case 'y': o->copy = true; return NULL;
    case 'b':
        return cli_parse_count(optarg, 1, CELLAR_VALUE_MAX, &o->value_bytes) ? NULL
            : "--value-bytes must be 1..1073741823";
    case 's':
        return cli_parse_count(optarg, 1, 1024, &o->stripes) &&
               (o->stripes & (o->stripes - 1)) == 0 ? NULL
            : "--stripes must be a power of two in 1..1024";
    case 'M':
        return cli_parse_bytes(optarg, &o->memory) && o->memory >= CELLAR_MEMORY_MIN ? NULL
            : "--memory must be at least 1 MiB (64M)";
    case 'd':
        o->seed_given = true;
        return cli_parse_count(optarg, 0, UINT32_MAX - REPLAY_SEEDS_MAX, &o->seed) ? NULL
            : "--seed must be 0..4294967231";
    case 'n':
        return cli_parse_count(optarg, 1, REPLAY_SEEDS_MAX, &o->seeds) ? NULL
            : "--seeds must be 1..64";
    case 't':
        return cli_parse_count(optarg, 1, REPLAY_THREADS_MAX, &o->threads) ? NULL
            : "--threads must be 1..64";
    default: return "";
    }
}

static bool replay_option(int c, void *ctx)
{
    static char none[] = ""; /* of an option without a value */
    char given[64];          /* the parsers cut optarg */
    if (optarg == NULL) { optarg = none; }
    snprintf(given, sizeof given, "%s", optarg);
    const char *wrong = replay_parse_one(c, ctx);
    if (wrong != NULL) { cli_complain("replay", "%s (got \"%s\")", wrong, given); }
    return wrong == NULL;
}

int replay_parse(int argc, char **argv, replay_options *o)
{
    static const struct option known[] = {
        { "policy", required_argument, NULL, 'p' }, { "capacity", required_argument, NULL, 'c' },
        { "favor", required_argument, NULL, 'v' },
        { "mode", required_argument, NULL, 'm' }, { "format", required_argument, NULL, 'f' },
        { "columns", required_argument, NULL, 'k' }, { "time-unit", required_argument, NULL, 'u' },
        { "block", required_argument, NULL, 'l' },
        { "value-bytes", required_argument, NULL, 'b' }, { "mean", no_argument, NULL, 'e' },
        { "copy", no_argument, NULL, 'y' },
        { "stripes", required_argument, NULL, 's' }, { "threads", required_argument, NULL, 't' },
        { "seeds", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 'd' },
        { "memory", required_argument, NULL, 'M' }, { "mrc", no_argument, NULL, 'r' },
        { "every", required_argument, NULL, 'E' }, { "warm", required_argument, NULL, 'W' },
        { "jobs", required_argument, NULL, 'J' },
        { "json", required_argument, NULL, 'j' }, { "csv", required_argument, NULL, 'x' }, { "plot", required_argument, NULL, 'g' },
        { "write", required_argument, NULL, 'w' },
        { "advisor", no_argument, NULL, 'a' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
    };
    const int code = cli_options(&cli_replay, argc, argv, known, replay_option, o);
    if (code == CLI_GO_ON && optind == argc) {
        cli_complain("replay", "needs a trace; name one or more files");
        return CLI_USAGE;
    }
    if (code != CLI_GO_ON) { return code; }
    for (unsigned i = 0; i < o->policy_count; i++) {
        const replay_policy *p = &replay_policies[o->policy[i]];
        if (p->exact && p->ideal == CLI_IDEAL_BOUND && (o->mrc || o->every != 0 || o->warm > 0)) {
            cli_complain("replay", "policy bound is of a whole trace; leave out --mrc, --every, --warm");
            return CLI_USAGE;
        }
        if (!p->exact || !o->byte_mode) { continue; }
        if (p->ideal == CLI_IDEAL_BELADY || (p->code != NULL && !p->code->bytes)) {
            cli_complain("replay", "policy %s ignores sizes; leave it out or use --mode=object",
                         p->name);
            return CLI_USAGE;
        }
    }
    return CLI_GO_ON;
}

const cli_command cli_replay = {
    "replay", "", "measure miss ratios of request traces",
    "Usage: cellar replay [OPTION]... TRACE...\n"
    "\n"
    "Sends the requests of each TRACE (-: standard input) through a cache: a get, and a set\n"
    "after a miss, on the clock of the trace. Prints for each policy and capacity the miss\n"
    "ratio, reduction of the misses of FIFO, time, and metadata; then one JSON line each.\n"
    "\n"
    "  --policy=P,..     of cellar: adaptive s3fifo lru fifo; textbook, by bytes too: exact-lru\n"
    "                    exact-fifo clock sieve s3-fifo arc w-tinylfu gdsf bound (no policy is\n"
    "                    below); by entries: belady 2q lirs w-tinylfu-lcs (with the faults of\n"
    "                    libCacheSim's). Default the first six\n"
    "  --capacity=C,..   entries, bytes (64M), or a share of the objects or bytes of the trace.\n"
    "                    Default 0.1%,1%,5%,10%,20%, from 16 entries or 1 MiB on\n"
    "  --mode=M          object: entries, without sizes and TTLs; byte: the memory budget; budget:\n"
    "                    entries, bounded by the memory that holds as many. Default object\n"
    "  --value-bytes=N   byte: size of a value where the trace tells none, or 1; budget: of all\n"
    "                    values. Default 200, more where the budget would be below 1.5 MiB\n"
    "  --memory=N        object: budget of the store. Default 64 MiB, more where it is needed\n"
    "  --mean            tell the store the mean size of the entries\n"
    "  --copy            byte: store all bytes. Default: values above 64 bytes are weights, so\n"
    "                    that capacities may exceed the memory of the machine\n"
    "  --favor=F         bytes or objects (small entries stay longer). Default bytes\n"
    "  --format=F        ctr oracle vscsi lis twitter csv json (an object a line) txt. Default\n"
    "                    by name and first line. zstd and gzip are unpacked\n"
    "  --columns=A,..    columns of csv (, ; a tab or blanks between): time, key, size, ttl, op,\n"
    "                    count (of equal requests), - for others. Columns with the same word key\n"
    "                    are one key. Or COLUMN=NAME,.. for names in its first line, such as\n"
    "                    key=disk+offset. Default: those. Op: get, set, delete or words like\n"
    "                    them. A time is a number or of ISO 8601\n"
    "  --block=N         csv, json: the key, or its last column, is an offset in bytes; a request\n"
    "                    of SIZE bytes is one for each block of N bytes that it touches\n"
    "  --time-unit=U     unit of the times of csv and json: s ms us ns. Default s\n"
    "  --stripes=N       most stripes, a power of two in 1..1024. Default: of the library\n"
    "  --seeds=N         hash keys of the store; the table has median and range of the runs, the\n"
    "                    JSON all. Range 1..64. Default 8 for adaptive; 1 for others, and with\n"
    "                    several threads, --advisor, --seed, --mrc\n"
    "  --seed=N          the first hash key: repeats the run of one value. Default 0\n"
    "  --mrc             miss-ratio curve: exact-lru in one pass, others by samples (SHARDS)\n"
    "  --every=N         JSON: the miss ratio of each N requests (\"series\"), at most 256\n"
    "  --warm=P%         count from P % of the requests on. Default 0%\n"
    "  --jobs=N          processes of a file, each with capacities. Range 1..64. Default 1\n"
    "  --threads=N       threads that send requests. Range 1..64. Default 1\n"
    "  --json=FILE       append the JSON lines to FILE instead of printing them\n"
    "  --csv=FILE        write a line for each policy, capacity and hash key\n"
    "  --plot=FILE       draw them with gnuplot, .svg or .png; a file a trace. Bars: the range\n"
    "  --write=FILE      convert: write the requests of all TRACEs as one ctr file, without a\n"
    "                    replay. Sets become requests; deletes and TTLs are left out\n"
    "  --advisor         compare the hit ratios that the advisor expects at eight sizes with runs\n"
    "                    at these sizes (adaptive, from 1,000 entries on)\n"
    "  --help            print this text\n"
    "\n"
    "A capacity above the objects or bytes of the trace is refused.\n"
    "\n"
    "Exit codes: 0 done; 1 TRACE is no trace: its first wrong line or record and the expected\n"
    "            form are printed to stderr, nothing to stdout; 2 wrong usage, or TRACE cannot be\n"
    "            read; 3 cannot start; 4 internal error.\n",
    replay_main
};
