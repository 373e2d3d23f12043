/* SPDX-License-Identifier: MIT
 *
 * memory.h: the words that threads share, written immediately or (TSO=1) behind store buffers.
 *
 * PICTURE    mem[NM] = words; thread p < NP stores with ST. TSO: the store waits in p's first-in-
 *            first-out buffer (x86's reordering, sparc's TSO) and reaches memory at any later step
 *            of Drain. A read-modify-write, a seq_cst store or a lock in the code is guarded by
 *            DRAINED(p) and then accesses mem directly.
 * RULES      no thread here loads a word it has itself in its buffer: forwarding is not modelled.
 *            AT(step) names a BASE_POINT of src/core/l1 and is no step of the model.
 * LIMITS     weaker memory than TSO is not shown; SBN stores wait at most. */
#define AT(step)
#ifndef TSO
#define TSO 0
#endif
byte mem[NM];
#if TSO
typedef store_buffer { byte at[SBN]; byte val[SBN]; byte fill };
store_buffer sb[NP];
inline ST(p, where, what) {
  d_step { sb[p].fill < SBN -> sb[p].at[sb[p].fill] = where; sb[p].val[sb[p].fill] = what;
    sb[p].fill = sb[p].fill + 1 }
}
#define DRAINED(p) (sb[p].fill == 0)
#define DRAIN(p) d_step { sb[p].fill > 0 -> mem[sb[p].at[0]] = sb[p].val[0]; j = 1; \
  do :: j < sb[p].fill -> sb[p].at[j-1] = sb[p].at[j]; sb[p].val[j-1] = sb[p].val[j]; j++ \
     :: else -> break od; \
  sb[p].fill--; sb[p].at[sb[p].fill] = 0; sb[p].val[sb[p].fill] = 0; j = 0 }
active proctype Drain() { byte j;
end: do
  :: DRAIN(0)
#if NP > 1
  :: DRAIN(1)
#endif
#if NP > 2
  :: DRAIN(2)
#endif
#if NP > 3
  :: DRAIN(3)
#endif
#if NP > 4
  :: DRAIN(4)
#endif
#if NP > 5
  :: DRAIN(5)
#endif
  od }
#else
inline ST(p, where, what) { mem[where] = what }
#define DRAINED(p) (true)
#endif
