/* SPDX-License-Identifier: MIT
 *
 * text: the one reader of texts, for settings and for policy files: notes, files, lines, quotes,
 * numbers.
 *
 * INVARIANTS A function that reads a value returns its error, as "needs a number"; NULL: none. */
#ifndef KIT_TEXT_H
#define KIT_TEXT_H

#include "base/open_error.h"
#include "base/port.h"
#include "cellar_kit.h"
#include "kit/ascii.h"

#define KIT_NOTES_MAX 100u /* of each level that are reported */

typedef struct kit_notes { /* receiver of notes, and their numbers so far */
    const char *source;    /* name of the text; NULL: environment */
    cellar_settings_note_fn fn; /* NULL: only counted */
    void *ctx;
    uint32_t line;         /* from 1; 0: environment, or the file itself */
    uint32_t errors, warnings, infos;
    char first[BASE_ERROR_TEXT]; /* first error of a text with a name, with its place behind it */
} kit_notes;

/* Report a note about the byte at `at` of the line. name "": none. */
CELLAR_PRIVATE void kit_note(kit_notes *n, cellar_log_level level, size_t at, const char *name,
                             const char *format, ...) BASE_PRINTF(5, 6);
/* Read a file of up to `most` bytes, and one more if it is longer, into new memory of most + 1
 * bytes: free with base_free_raw. E_IO: noted. */
CELLAR_PRIVATE cellar_err kit_file_read(kit_notes *n, const char *path, size_t most, char **text,
                                        size_t *len);
/* Call `fn` for each line, without its CR and LF. Lines with a control byte are noted instead. A
 * byte order mark is skipped. */
CELLAR_PRIVATE void kit_lines(kit_notes *n, const char *text, size_t len,
                              void (*fn)(void *ctx, const char *line, size_t len), void *ctx);

typedef struct kit_value {
    const char *p; /* not terminated; no control bytes */
    size_t len;
    size_t at;     /* cursor; place of an error */
    bool seconds;  /* of a name of the documents: a number without unit is a time in seconds */
} kit_value;

BASE_INLINE void kit_skip_blanks(kit_value *v)
{
    while (v->at < v->len && kit_is_blank(v->p[v->at])) { v->at++; }
}
/* Decode the text in quotes at the cursor, up to `cap` bytes. hex: \n and \xHH are escapes, too.
 * Without an error the cursor is behind the closing quote. */
CELLAR_PRIVATE const char *kit_quoted(kit_value *v, bool hex, char *out, size_t cap,
                                      size_t *out_len);
/* Read digits; an overflow is UINT64_MAX. */
CELLAR_PRIVATE const char *kit_digits(kit_value *v, uint64_t *n);
CELLAR_PRIVATE uint64_t kit_times(uint64_t a, uint64_t b); /* UINT64_MAX: overflow */
/* Read a time to the end of the value, ms; an overflow is UINT64_MAX. */
CELLAR_PRIVATE const char *kit_time(kit_value *v, uint64_t *n);
/* Read "10%", "+10%" or "+-10%" as the fields of an option; "": above 100. */
CELLAR_PRIVATE const char *kit_jitter(kit_value *v, uint32_t *pct, cellar_jitter *mode);
CELLAR_PRIVATE bool kit_word_is(const char *p, size_t len, const char *word);

#endif
