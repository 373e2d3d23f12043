/* SPDX-License-Identifier: MIT
 *
 * l1_fork: a forked child repairs what threads of its parent left half done (l1_mend).
 *
 * PICTURE    one stripe, bucket 0 with key K {VA, VB}; its segment's count, its queue's sum.
 *            All stripe locks were held at the fork, so only holders of a bucket can be missing.
 * THREADS    init picks what was going on at the fork. Then, in the child: Reader (l1_look_up),
 *            Setter (l1_lock_key takes the stripe first), Merger (l1_lock_number: split,
 *            contraction, scan), and last the cursor, which settles the counts.
 * SHOWN      No thread hangs, no torn value is served, count and sum are right in the end.
 * MUTANTS    MERGE_NO_MEND, GET_NO_MEND (they wait for the word to become even), LOCK_NO_STRIPE
 *            (a writer of the child takes the bucket only: it looks like an orphan),
 *            NO_RECOUNT. */
#define AT(step)
byte ver = 2, va = 1, vb = 1, count = 1, sum = 1;
bool stripe, linked = true;
#define ODD (ver & 1)

inline TAKE_STRIPE() { atomic { !stripe -> stripe = true } }
inline DROP_STRIPE() { stripe = false }
/* Stripe lock held. */
inline MEND() {
  if :: linked -> linked = false; sum--; count-- :: else fi;
#ifndef NO_RECOUNT
  sum = count;
#endif
  ver = ver + 1 }
inline LOCK(v) {
  do
  :: ODD -> MEND()
  :: AT(l1.lock) atomic { !ODD -> v = ver; ver = v + 1 }; break
  od }

proctype Reader() { byte v, x, y;
again:
  v = ver;
  if
  :: v & 1 ->
#ifdef GET_NO_MEND
     (ver != v)
#else
     TAKE_STRIPE(); LOCK(v); ver = v + 2; DROP_STRIPE()
#endif
     ; goto again
  :: else
  fi;
  if :: linked -> x = va; y = vb; if :: ver != v -> goto again :: else -> assert(x == y) fi
     :: else
  fi }

proctype Setter() { byte v;
#ifdef LOCK_NO_STRIPE
  AT(l1.lock) atomic { !ODD -> v = ver; ver = v + 1 };
#else
  TAKE_STRIPE(); LOCK(v);
#endif
  va = 3; vb = 3;
  if :: !linked -> count++; sum++; linked = true :: else fi;
  ver = v + 2;
#ifndef LOCK_NO_STRIPE
  DROP_STRIPE()
#endif
}

proctype Merger() { byte v;
  TAKE_STRIPE();
#ifdef MERGE_NO_MEND
  atomic { !ODD -> v = ver; ver = v + 1 };
#else
  LOCK(v);
#endif
  ver = v + 2; DROP_STRIPE() }

init {
  if
  :: true                                             /* nothing */
  :: ver = 3                                          /* an idle hit */
  :: ver = 3; va = 2                                  /* set in place */
  :: ver = 3; linked = false                          /* del before it counted */
  :: ver = 3; linked = false; sum = 0                 /* del between sum and count */
  :: ver = 3; linked = false; sum = 0; count = 0      /* del after it counted */
  fi;
  atomic { run Reader();
#ifndef LOCK_NO_STRIPE
    if :: run Setter() :: true fi;
#else
    run Setter();
#endif
    if :: run Merger() :: true fi };
  (_nr_pr == 1);
  /* The cursor at the end of the segment. */
  if :: count != linked -> assert(count > linked); sum = sum - (count - linked); count = linked
     :: else
  fi;
  assert(!ODD && count == linked && sum == count) }
