/* SPDX-License-Identifier: MIT
 *
 * l2_watch: a change leaves a stamp unchanged when the tier has nothing of the key and no thread
 * has captured the stamp, as built in src/core/cache/stamp.c.
 *
 * PICTURE    change: bucket {word; tier: nothing? word: unwatched and the same -> L1's step; else
 *            raise, unwatch, pending; tier: nothing? pending back} -> kill, pending back -> acked
 *            evict:  bucket {watch, capture, unlink} -> put: bits, then: stamp as captured? record
 *            read:   watch, capture -> tier's record -> bucket {as captured, nothing pending: in}
 *            mate:   a change of another key of the bunch; reclaim: words go, then their bits
 * HOLDS      A dead version is neither in L1 nor in the tier once its change is acknowledged.
 * SWITCHES   CHANGES=
 * MISTAKES   UNWATCHED_EVICT UNWATCHED_READ NO_FIRST_LOOK NO_SECOND_LOOK NO_SECOND_ASK
 * LEFT OUT   the log and the locks of its shards (l2_log.pml), other buckets. */
#ifndef CHANGES
#define CHANGES 2
#endif

byte l1v = 0, now = 1, next = 1, over = 0;
byte rec = 1, era = 0;            /* below: version, and the bits that name it */
bool bits[2];
byte cnt = 0, pending = 0;        /* the word of the stamp: count and pending */
bool watched = false;
bool bucket = false, gate = false;

#define TAKE(l) atomic { !l -> l = true }
#define NOTHING (!bits[0] && !bits[1])

proctype change()
{
    byte c, p, ended, n = 0;
    bool w, none, kill;
    do
    :: n < CHANGES ->
        n++;
        TAKE(bucket);
        atomic { c = cnt; p = pending; w = watched }
#ifdef NO_FIRST_LOOK
        none = NOTHING;
        atomic { c = cnt; p = pending; w = watched }
#else
        none = NOTHING;
#endif
        kill = false;
        if
#ifdef NO_SECOND_LOOK
        :: none && !w -> skip
#else
        :: none && !w && cnt == c && pending == p && !watched -> skip
#endif
        :: else ->
            atomic {
                cnt++;
                pending++;
                watched = false
            }
#ifndef NO_SECOND_ASK
            none = none && NOTHING;
#endif
            if
            :: none -> pending--
            :: else -> kill = true
            fi
        fi;
        atomic { ended = now; next++; now = next; l1v = now }
        bucket = false;
        if
        :: kill ->
            if
            :: !NOTHING -> TAKE(gate); rec = 0; gate = false
            :: else
            fi;
            pending--
        :: else
        fi;
        over = (ended > over -> ended : over)
    :: else -> break
    od
}

proctype evict()
{
    byte v, s, n = 0;
    do
    :: n < 2 ->
        n++;
        TAKE(bucket);
        v = l1v;
        if
        :: v != 0 ->
#ifdef UNWATCHED_EVICT
            s = cnt;
#else
            atomic { watched = true; s = cnt }
#endif
            l1v = 0;
            bucket = false;
            TAKE(gate);
            bits[1] = true;
            if
            :: cnt == s -> atomic { rec = v; era = 1 }
            :: else
            fi;
            gate = false
        :: else -> bucket = false
        fi
    :: else -> break
    od
}

proctype read()
{
    byte v, s, p;
#ifdef UNWATCHED_READ
    atomic { s = cnt; p = pending }
#else
    atomic { watched = true; s = cnt; p = pending }
#endif
    v = rec;
    TAKE(bucket);
    if
    :: l1v == 0 && v != 0 && p == 0 && cnt == s && pending == p -> l1v = v
    :: else
    fi;
    bucket = false
}

proctype mate() { atomic { cnt++; watched = false } }

proctype reclaim()
{
    atomic { !gate -> if :: era == 0 -> rec = 0 :: else fi };
    bits[0] = false
}

proctype monitor()
{
end:
    do
    :: atomic { assert(l1v == 0 || l1v > over); assert(rec == 0 || rec > over) }
    od
}

init
{
    atomic {
        bits[0] = true;
        run change();
        run evict();
        run read();
        run mate();
        run reclaim();
        run monitor()
    }
}
