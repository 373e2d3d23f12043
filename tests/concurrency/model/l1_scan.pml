/* SPDX-License-Identifier: MIT
 *
 * l1_scan: a scan visits every key that is present throughout, whatever splits and merges happen.
 *
 * PICTURE    one key with any 3-bit hash; 2 to 8 primary buckets. The cursor counts the low
 *            bits of the address from the top down (Redis' SCAN); a step copies bucket b and,
 *            if b < split, b + 2^L.
 * THREADS    Scanner (l1_scan_step without locks)   Grower x MOVES: l1_split or l1_contract_one
 * GHOSTS     at = the bucket the key is in.
 * SHOWN      Some step that passed its validation copied the key.
 * MUTANTS    LS_NO_COUNT PLAIN_ORDER (0, 1, 2 ..) ONE_BUCKET (b only) LS_NOT_RELOADED: against
 *            the design. */
#define AT(step)
#ifndef MOVES
#define MOVES 3
#endif
byte level = 1, split, changes, ver[8], at, hash;
#define WIDE(h, l) ((h) & ((2 << (l)) - 1))
#define NUMBER(h, l, s) (((h) & ((1 << (l)) - 1)) < (s) -> WIDE(h, l) : ((h) & ((1 << (l)) - 1)))
#define REVERSE(x) ((((x) & 1) << 2) | ((x) & 2) | (((x) & 4) >> 2))
#ifdef LS_NO_COUNT
#define SAME_LS (l == level && s == split)
#elif defined(LS_NOT_RELOADED)
#define SAME_LS (true)
#else
#define SAME_LS (c == changes && l == level && s == split)
#endif

proctype Scanner() { byte low, l, s, c, v0, v1, b0, b1; bool seen, found;
  do
  :: true ->
again:
     found = false;
     d_step { l = level; s = split; c = changes };
     b0 = low & ((1 << l) - 1); b1 = b0;
#ifndef ONE_BUCKET
     if :: b0 < s -> b1 = b0 + (1 << l) :: else fi;
#endif
     v0 = ver[b0]; v1 = ver[b1];
     if :: (v0 & 1) || (v1 & 1) -> goto again :: else fi;
     if :: at == b0 -> found = true :: else fi;
     if :: at == b1 -> found = true :: else fi;
     if :: ver[b1] != v1 -> goto again :: else fi;
     if :: ver[b0] != v0 -> goto again :: else fi;
     if :: !SAME_LS -> goto again :: else fi;
     seen = seen || found;
#ifdef PLAIN_ORDER
     low = (low & ((1 << l) - 1)) + 1; if :: low == (1 << l) -> low = 0 :: else fi;
#else
     low = low | (7 & ~((1 << l) - 1)); low = REVERSE(low) + 1;
     low = (low == 8 -> 0 : REVERSE(low));
#endif
     if :: low == 0 -> break :: else fi
  od;
  assert(seen) }

proctype Grower() { byte n, from, to, v, w;
  do
  :: n < MOVES -> n++;
     if
     :: !(level == 3) ->
        from = split; to = split + (1 << level);
        ver[from] = ver[from] + 1; ver[to] = ver[to] | 1;
        if :: at == from && (hash & (1 << level)) -> at = to :: else fi; AT(l1.split.cleared)
        d_step { changes++; split++; if :: split == (1 << level) -> level++; split = 0 :: else fi };
        AT(l1.split.published)
        ver[to] = ver[to] + 1; ver[from] = ver[from] + 1
     :: level > 1 || split > 0 ->
        if :: split == 0 -> to = (1 << (level - 1)) - 1; from = to + (1 << (level - 1))
           :: else -> to = split - 1; from = to + (1 << level) fi;
        ver[to] = ver[to] + 1; ver[from] = ver[from] + 1;
        if :: at == from -> at = to :: else fi;
        d_step { changes++; if :: split == 0 -> level--; split = (1 << level) :: else fi; split-- };
        AT(l1.split.published)
        ver[to] = ver[to] + 1                    /* `from` stays odd: no bucket any more */
     fi;
     assert(at == NUMBER(hash, level, split)); from = 0; to = 0
  :: else -> break
  od }

init { atomic {
  do :: hash < 7 -> hash++ :: break od;
  if :: level = 1 :: level = 2 fi;
  at = hash & ((1 << level) - 1);
  run Scanner(); run Grower() } }
