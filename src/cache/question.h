/* SPDX-License-Identifier: MIT
 *
 * question: functions of question.c for the files above it. */
#ifndef CACHE_QUESTION_H
#define CACHE_QUESTION_H

#include "cache/shared.h"

/* Begin a read of a key; `changes`: of its stamp. PENDING: the caller asks the tier, then calls
 * cache_question_end if *mine is not NULL. Else the answer of an equal question, which the call
 * has waited for: CONFLICT, memory may have the value; MISS; E_BUFFER, with length and flags. */
CELLAR_PRIVATE cellar_err cache_question_begin(const cache_shared *h, uint64_t hash,
                                               uint64_t changes, size_t *value_len,
                                               uint32_t *user_flags, cache_question **mine);
/* Answer the reads that wait for this one. PENDING: they have to ask for themselves. */
CELLAR_PRIVATE void cache_question_end(const cache_shared *h, cache_question *mine,
                                       cellar_err answer, size_t value_len, uint32_t user_flags);

#endif
