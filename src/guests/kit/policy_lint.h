/* SPDX-License-Identifier: MIT
 *
 * policy_lint: functions of policy_lint.c for the files above it. */
#ifndef KIT_POLICY_LINT_H
#define KIT_POLICY_LINT_H

#include "kit/text.h"

typedef struct kit_policy { /* rules that were read without an error */
    const cellar_policy_rule *rule;
    size_t count;
} kit_policy;

/* Report what correct rules probably get wrong, as warnings. */
CELLAR_PRIVATE void kit_policy_lint(const kit_policy *p, kit_notes *n);
/* Report what rules name and no namespace has, as warnings. */
CELLAR_PRIVATE void kit_policy_compare(const kit_policy *p, const cellar_policy_space *spaces,
                                       size_t count, kit_notes *n);
/* Return whether each key of `later` matches `earlier`. False in doubt. */
CELLAR_PRIVATE bool kit_policy_covers(const kit_policy *p, const cellar_policy_rule *earlier,
                                      const cellar_policy_rule *later);

#endif
