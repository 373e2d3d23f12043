/* SPDX-License-Identifier: MIT
 *
 * l1_emptied: which thread frees a segment whose last record is unlinked without the stripe lock.
 *
 * PICTURE    one segment; at first the open head of stripe 1. Records 0..2 are keys of stripe
 *            1, 3 of stripe 2. Its word = {count, QUEUED}; on[s] = how often it is on the
 *            stack of stripe s.
 *                del: count - 1, at 0 QUEUED in the same step -> push      (in the key's window)
 *                holder of the stripe: take the stack, clear QUEUED; count 0, no head: release
 * THREADS    Deleter of each key; Holder(s) x ROUNDS: l1_free_emptied, then append, open
 *            another head, close an empty head (l1_rest_lane), run the cursor over it, or
 *            take it when it is free.
 * SHOWN      The segment is released once, by its owner, with the whole word 0 and on no stack. It
 *            is on at most one stack. When all records are deleted and each stripe lock was taken
 *            once more, the segment is free.
 * MUTANTS    HEAD_CLOSED_EARLY as in the code; and QUEUED_APART (count and mark in two steps:
 *            the code as it was at first), HEAD_FORGOTTEN (a head emptied while open is not pushed
 *            when the next one opens), STACK_AFTER_COUNT (the count is read before QUEUED
 *            is cleared). */
#define AT(step)
#ifndef ROUNDS
#define ROUNDS 3
#endif
byte count, on[3], owner = 1;  /* owner 0: on the free list */
bool queued, head = true, odd[4], linked[4], lock[3];
#define STRIPE(r) (r == 3 -> 2 : 1)
#define EMPTY (count == 0 && !queued)

inline PUSH(s) { atomic { assert(owner == s && on[1] + on[2] == 0); on[s]++ } }
#ifdef QUEUED_APART
inline LIVE_SUB(s, last) {
  atomic { assert(count > 0); count--; last = (count == 0); AT(l1.seg.emptied) };
  if :: last -> if :: atomic { !queued -> queued = true }; on[s]++
                   :: atomic { queued -> last = false } fi
     :: else
  fi }
#else
inline LIVE_SUB(s, last) {
  atomic { assert(count > 0); count--; last = (count == 0 && !queued);
           if :: count == 0 -> queued = true :: else fi; AT(l1.seg.emptied) };
  if :: last -> PUSH(s) :: else fi }
#endif
inline RELEASE(s) {
  atomic { assert(owner == s && EMPTY && on[1] + on[2] == 0); owner = 0; head = false } }

proctype Deleter(byte r) { bool last;
  if :: linked[r] :: true -> goto done fi;
  atomic { !odd[r] -> odd[r] = true };
  if :: linked[r] -> linked[r] = false; AT(l1.evict.unlinked) LIVE_SUB(STRIPE(r), last) :: else fi;
  odd[r] = false;
done: skip }

inline FREE_EMPTIED(s) {
  if
  :: atomic { on[s] > 0 -> on[s]-- };
#ifdef STACK_AFTER_COUNT
     n = count; queued = false;
#else
     atomic { n = count; queued = false };
#endif
     if :: !(head && owner == s) && n == 0 -> RELEASE(s) :: else fi
  :: else
  fi }

inline CURSOR(s) {
  r = 0;
  do
  :: r < 4 && STRIPE(r) == s ->
     atomic { !odd[r] -> odd[r] = true };
     if :: linked[r] -> linked[r] = false; LIVE_SUB(s, last) :: else fi;
     odd[r] = false; r++
  :: r < 4 && STRIPE(r) != s -> r++
  :: r == 4 -> break
  od;
  do
  :: EMPTY -> RELEASE(s); break
  :: else -> FREE_EMPTIED(s); if :: owner != s -> break :: else -> assert(count == 0) fi
  od; r = 0 }

proctype Holder(byte s) { byte i, n, r; bool last;
  do
  :: i < ROUNDS -> i++;
     atomic { !lock[s] -> lock[s] = true };
     FREE_EMPTIED(s);
     if
     :: owner == s && head ->                                  /* append */
        if :: s == 1 && !linked[1] -> r = 1 :: s == 1 && !linked[2] -> r = 2
           :: s == 2 && !linked[3] -> r = 3 :: else -> r = 4 fi;
        if :: r < 4 ->
              atomic { !odd[r] -> odd[r] = true }; count++; linked[r] = true; odd[r] = false
           :: else
        fi
     :: owner == s && head -> head = false;                    /* another head opens */
#ifndef HEAD_FORGOTTEN
        if :: atomic { EMPTY -> queued = true }; PUSH(s) :: else fi
#endif
     :: owner == s && head ->                                  /* l1_rest_lane */
#ifdef HEAD_CLOSED_EARLY
        if :: count == 0 -> owner = 0; head = false :: else fi
#else
        if :: EMPTY -> RELEASE(s) :: else fi
#endif
     :: owner == s -> CURSOR(s)
     :: atomic { owner == 0 -> assert(EMPTY && on[1] + on[2] == 0);
                 owner = s; head = true; AT(l1.seg.scan) }
     :: true
     fi;
     lock[s] = false; n = 0; r = 0; last = false
  :: else -> break
  od }

init { byte s, n; bool last;
  atomic { linked[0] = true; count = 1;
    run Deleter(0); run Deleter(1);
#ifdef TWO
    run Deleter(3);
#endif
    run Holder(1);
#ifdef TWO
    run Holder(2)
#endif
  };
  (_nr_pr == 1);   /* all have returned; if all is deleted, one tick releases the segment */
  if :: count != 0 -> goto done :: else fi;
  s = 1;
  do
  :: s < 3 -> FREE_EMPTIED(s); if :: owner == s && head && EMPTY -> RELEASE(s) :: else fi; s++
  :: else -> break
  od;
  assert(owner == 0 && on[1] + on[2] == 0);
done: skip }
