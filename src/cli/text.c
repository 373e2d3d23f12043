/* SPDX-License-Identifier: MIT
 *
 * text: errors, numbers and names as text for people and as JSON; the clock.
 *
 * INVARIANTS No function reads the locale: the same figures give the same bytes everywhere.
 * LIMITS     CLI_TEXT bytes hold every 64-bit number with its separators and unit.
 *            CLI_SENTENCE bytes of an error are printed; the rest is cut off. */
#include "cli/cli.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

#define CLI_SENTENCE 4608 /* a path of PATH_MAX bytes and the words around it */

void cli_complain(const char *command, const char *format, ...)
{
    char sentence[CLI_SENTENCE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    fprintf(stderr, "cellar: %s%s", command != NULL ? command : "", command != NULL ? ": " : "");
    cli_plain(stderr, sentence);
    fputc('\n', stderr);
}

uint64_t cli_clock_ns(void)
{
    struct timespec now = { 0, 0 };
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail on Linux with this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

char *cli_count(char out[CLI_TEXT], uint64_t n)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    char *to = out;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) { *to++ = ','; }
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

/* Print value / unit with one decimal from 10 on and two decimals below. */
static char *cli_scaled(char out[CLI_TEXT], uint64_t value, uint64_t unit, const char *name)
{
    const uint64_t whole = value / unit, rest = value % unit;
    /* rest < unit <= 10^12 and 2^40, so the products fit. */
    if (whole >= 10) {
        snprintf(out, CLI_TEXT, "%llu.%u %s", (unsigned long long)whole,
                 (unsigned)(rest * 10 / unit), name);
    } else {
        snprintf(out, CLI_TEXT, "%llu.%02u %s", (unsigned long long)whole,
                 (unsigned)(rest * 100 / unit), name);
    }
    return out;
}

char *cli_bytes(char out[CLI_TEXT], uint64_t bytes)
{
    if (bytes >= (uint64_t)1 << 40) { return cli_scaled(out, bytes, (uint64_t)1 << 40, "TiB"); }
    if (bytes >= (uint64_t)1 << 30) { return cli_scaled(out, bytes, (uint64_t)1 << 30, "GiB"); }
    if (bytes >= (uint64_t)1 << 20) { return cli_scaled(out, bytes, (uint64_t)1 << 20, "MiB"); }
    if (bytes >= (uint64_t)1 << 10) { return cli_scaled(out, bytes, (uint64_t)1 << 10, "KiB"); }
    snprintf(out, CLI_TEXT, "%u B", (unsigned)bytes);
    return out;
}

char *cli_duration(char out[CLI_TEXT], uint64_t ns)
{
    if (ns >= 1000000000u) { return cli_scaled(out, ns, 1000000000u, "s"); }
    if (ns >= 1000000u) { return cli_scaled(out, ns, 1000000u, "ms"); }
    if (ns >= 1000u) { return cli_scaled(out, ns, 1000u, "us"); }
    snprintf(out, CLI_TEXT, "%u ns", (unsigned)ns);
    return out;
}

char *cli_percent(char out[CLI_TEXT], uint64_t part, uint64_t whole)
{
    /* Rounded down: 100.0 % means all. */
    const uint64_t permille = whole == 0 ? 0 : (uint64_t)((double)part * 1000.0 / (double)whole);
    snprintf(out, CLI_TEXT, "%u.%u %%", (unsigned)(permille / 10), (unsigned)(permille % 10));
    return out;
}

/* Parse digits without sign or blank. Return the first byte after them; NULL if there is no digit
 * or the number does not fit. */
static const char *cli_digits(const char *text, uint64_t *n)
{
    if (*text < '0' || *text > '9') { return NULL; }
    for (*n = 0; *text >= '0' && *text <= '9'; text++) {
        const unsigned digit = (unsigned)(*text - '0');
        if (*n > (UINT64_MAX - digit) / 10) { return NULL; }
        *n = *n * 10 + digit;
    }
    return text;
}

bool cli_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *n)
{
    const char *end = cli_digits(text, n);
    return end != NULL && *end == '\0' && *n >= least && *n <= most;
}

bool cli_parse_bytes(const char *text, uint64_t *bytes)
{
    static const char unit[] = "KMGT";
    const char *end = cli_digits(text, bytes);
    if (end == NULL) { return false; }
    if (*end == '\0') { return true; }
    const char upper = *end >= 'a' && *end <= 'z' ? (char)(*end - 'a' + 'A') : *end;
    const char *at = strchr(unit, upper);
    if (at == NULL || end[1] != '\0') { return false; }
    const unsigned shift = 10u * (unsigned)(at - unit + 1);
    if (*bytes > UINT64_MAX >> shift) { return false; }
    *bytes <<= shift;
    return true;
}

void cli_json_string(FILE *to, const char *text)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + strlen(text);
    fputc('"', to);
    while (p != end) {
        const size_t len = base_utf8_len(p, (size_t)(end - p));
        if (len == 0) {
            fputs("\\ufffd", to);
            p++;
            continue;
        }
        if (*p == '"' || *p == '\\') {
            fprintf(to, "\\%c", *p);
        } else if (*p < 0x20) {
            fprintf(to, "\\u%04x", *p);
        } else {
            fwrite(p, 1, len, to);
        }
        p += len;
    }
    fputc('"', to);
}

void cli_plain(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];
        const bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+009B is ESC [ */
        fputc(c < 0x20 || c == 0x7f || c1 ? '?' : *text, to);
        text += c1;
    }
}
