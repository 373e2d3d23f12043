/* SPDX-License-Identifier: MIT
 *
 * limit_cas: two keys, two slots, charges by compare-exchange while others rewrite the slots.
 *
 * PICTURE    slot {fp, word = 4 * tat + colour}; burst 1, T = 1: a key passes when tat <= now
 * THREADS    Clock; Check(X) twice over, Check(Y); Reset(Y). src/core/limit/run.c, steps 1 to 6; the
 *            region's lock is one bit. Nobody is moved.
 * GHOSTS     adm[n]: admissions of X with reading n (high_water included); owed: what X's history
 *            comes to
 * SHOWN      X passes at most once a reading, whoever takes its slot; it is denied only when its own
 *            history says so.
 * MUTANTS    EVICT_BY_STORE, NO_SECOND_FP_READ, NO_COLOUR, NO_HIGH_WATER, DENIES_UNCONFIRMED as in
 *            the code. */
#define X 1
#define Y 2
#define BUSY 255
#define W(t, c) ((t) * 4 + (c) % 4)
#ifdef NO_COLOUR
#define NEXT(w) ((w) % 4)
#else
#define NEXT(w) ((w) % 4 + 1)
#endif
#ifndef TICKS
#define TICKS 2
#endif
#ifndef CHECKS
#define CHECKS 2
#endif
byte fp[2], word[2], now = 1, high, adm[8], owed;
bit lock;

inline admit(key, n) {
  if :: key == X -> adm[n]++; assert(adm[n] <= 1); owed = n + 1 :: else fi
}
inline find(key) {
  s = 2;
  if :: fp[0] == key -> s = 0 :: else -> if :: fp[1] == key -> s = 1 :: else fi fi
}

active proctype Clock() { do :: now <= TICKS -> now++ :: break od }

proctype Check(byte key, times) { byte s, w, n, i;
again:
  if :: i == times -> goto done :: else -> i++ fi;
  n = now;
  find(key);
  if :: s == 2 -> goto slow :: else fi;
try:
  w = word[s];
  if :: w == BUSY -> goto slow :: else fi;
#ifndef NO_SECOND_FP_READ
  if :: fp[s] != key -> goto slow :: else fi;
#endif
  if :: w / 4 > n ->
#ifndef DENIES_UNCONFIRMED
       if :: word[s] != w -> goto try :: else fi;
#endif
       assert(key != X || owed > n); goto again
     :: else fi;
  if :: atomic { word[s] == w -> word[s] = W(n + 1, w % 4); admit(key, n) }
     :: atomic { word[s] != w -> goto try } fi;
  goto again;
slow:
  atomic { lock == 0 -> lock = 1 };
#ifndef NO_HIGH_WATER
  if :: high > n -> n = high :: else fi;
#endif
  find(key);
  if :: s == 2 -> goto room :: else fi;
charge:
  w = word[s];
  if :: w / 4 > n -> assert(key != X || owed > n); goto unlock :: else fi;
  if :: atomic { word[s] == w -> word[s] = W(n + 1, w % 4); admit(key, n) }
     :: atomic { word[s] != w -> goto charge } fi;
  goto unlock;
room:
  if :: fp[0] == 0 || word[0] / 4 <= n -> s = 0
     :: fp[1] == 0 || word[1] / 4 <= n -> s = 1
     :: word[0] / 4 > n && word[1] / 4 > n -> goto unlock /* no room: denied, that is another promise */
  fi;
  w = word[s];
  if :: fp[s] != 0 && w / 4 > n -> goto room :: else fi;
#ifndef EVICT_BY_STORE
  if :: atomic { word[s] == w -> word[s] = BUSY } :: atomic { word[s] != w -> goto room } fi;
#endif
  if :: fp[s] != 0 && n > high -> high = n :: else fi;
  fp[s] = key;
  atomic { word[s] = W(n + 1, NEXT(w)); admit(key, n) };
unlock:
  lock = 0;
  goto again;
done: skip }

proctype Reset() { byte s, w;
  atomic { lock == 0 -> lock = 1 };
  find(Y);
  if :: s == 2 -> goto done :: else fi;
seize:
  w = word[s];
  if :: atomic { word[s] == w -> word[s] = BUSY } :: atomic { word[s] != w -> goto seize } fi;
  word[s] = W(0, NEXT(w));
done:
  lock = 0 }

init { atomic {
  fp[0] = X; /* its word is 0: it was reset before */
  run Check(X, CHECKS); run Check(X, 1); run Check(Y, 1); run Reset() } }
