/* SPDX-License-Identifier: MIT
 *
 * deps_tags: a loaded value carries the tags of the keys that its loader read, as built in
 * src/cache/dependencies.c.
 *
 * PICTURE    key a, changed; b loaded from a; c loaded from b
 *            note:    noted = epoch; watch the tag, seen = its word; then read the key
 *            change:  window {word = epoch + 1, moves, unwatched; then epoch; a} -> returned
 *            publish: born = epoch + 1; all words as seen? entry {value, born, tags}
 *            read:    entry is valid while each of its tags has word <= born
 *            join:    not if a tag moved that was noted before this call began; asked again at the
 *                     answer, when the flight may have inherited tags
 * HOLDS      A call returns no value of b or c older than a was when a change returned, or than
 *            this thread has seen a, before the call began.
 * SWITCHES   CHANGES= ONLY_B (the second caller asks for b) BOTH_B (both do) DROP (a record of the
 *            table is given to another key) EVICT (b leaves memory) OTHER (another key with the tag
 *            of a changes: the tag of any change) CLEAR (with BOTH_B: the namespace of a is cleared;
 *            the tag of b stands for its end; one caller after the other)
 * MISTAKES   RAISED_LATE RAISED_EARLY JOIN_BLIND UNION_FORGETS PUBLISH_BLIND READ_BEFORE_NOTE
 *            EPOCH_FIRST DROP_NO_EPOCH OTHER_TAGS ANSWER_BLIND SECOND_BLIND (a change does not see
 *            that another one is about to end the values) CLEARED_LATE (the next generation is
 *            visible before the dependants of the old one have ended)
 * LEFT OUT   patterns, values loaded after a clear, deadlines, waiting with patience. */
#ifndef CHANGES
#define CHANGES 2
#endif
#define A 0 /* tags, and keys */
#define B 1
#define C 2
#define NONE 255

byte epoch = 1;
byte word[2];      /* of the tags of a and b: epoch of the last change */
bool watched[2], present[2], moves[2];
byte a = 0, returned = 0;
bool window = false;
bool ended = false, next = false; /* the generation of a; the next one is visible */
bool called = false; /* the first call returned */

typedef entry { byte val, born; bool tag[2] }; /* born 0: no entry */
entry e[3];
typedef load { /* flight f: process * 2 + {0: c, 1: b} */
    bool done;
    byte val, born;  /* born: of the stored entry; 0: not stored */
    byte seen[2];    /* NONE: never equal to a word */
    byte noted[2];
    bool has[2];
};
load l[4];
byte at[3];        /* attached flight + 1 */

inline raise(t) {
    if
#ifdef SECOND_BLIND
    :: atomic { present[t] && watched[t] -> skip } ->
#else
    :: atomic { present[t] && (watched[t] || moves[t]) -> skip } ->
#endif
#ifdef EPOCH_FIRST
        atomic { epoch++; x = epoch }
        atomic { word[t] = x; watched[t] = false }
#else
        do
        :: true ->
            x = epoch;
            atomic {
                if :: word[t] > x -> x = word[t] :: else fi;
                x++;
                if :: present[t] -> word[t] = x; watched[t] = false; moves[t] = true :: else fi
            }
            if
            :: atomic { epoch < x -> epoch = x; break }
            :: atomic { else -> skip }
            fi
        od;
        atomic { if :: word[t] == x -> moves[t] = false :: else fi }
#endif
    :: atomic { else -> skip }
    fi
}

proctype change() {
    byte x, n = 0;
    do
    :: n < CHANGES ->
        n++;
#ifdef RAISED_EARLY
        raise(A);
#endif
#ifdef CLEAR
        do
        :: !next ->
            window = true;
            if
            :: atomic { ended -> window = false }
                next
            :: else -> raise(A); atomic { a = n; window = false } break
            fi
        :: next -> a = n; break
        od;
#else
        window = true;
#if !defined(RAISED_LATE) && !defined(RAISED_EARLY)
        raise(A);
#endif
        atomic { a = n; window = false }
#ifdef RAISED_LATE
        raise(A);
#endif
#endif
        returned = n
    :: else -> break
    od
}

proctype other() { byte x; raise(A) }

proctype clear() {
    byte x;
#ifdef CLEARED_LATE
    next = true;
#endif
    ended = true;
    raise(B);
    next = true
}

proctype drop() { /* the place of the tag of a is given away */
    byte x;
    atomic { present[A] = false; watched[A] = false }
}

proctype evict() { atomic { e[B].born = 0; e[B].tag[A] = false } }

/* valid = the entry can be served; ev, eb: its value and birth */
inline look(k) {
    atomic { ev = e[k].val; eb = e[k].born; ta = e[k].tag[A]; tb = e[k].tag[B] }
    valid = eb != 0;
    if :: ta -> valid = valid && present[A] && word[A] <= eb :: else fi;
    if :: tb -> valid = valid && present[B] && word[B] <= eb :: else fi
}

inline note(f, t) {
    l[f].noted[t] = epoch;
    do
    :: atomic { present[t] -> watched[t] = true; l[f].seen[t] = word[t]; break }
    :: atomic { !present[t] -> skip }
#ifdef DROP_NO_EPOCH
        atomic { present[t] = true; watched[t] = true; word[t] = epoch }
#else
        do
        :: true ->
            x = epoch + 1;
            if
            :: atomic { epoch == x - 1 -> epoch = x; break }
            :: atomic { else -> skip }
            fi
        od;
        atomic { if :: !present[t] -> present[t] = true; word[t] = x; watched[t] = false :: else fi }
#endif
    od;
    l[f].has[t] = true
}

/* fresh = a caller since epoch `since` may use the result of f */
inline ask(f, since) {
    fresh = true;
    if :: l[f].has[A] -> fresh = present[A] && word[A] == l[f].seen[A] || l[f].noted[A] >= since
       :: else fi;
    if :: l[f].has[B] && fresh -> fresh = present[B] && word[B] == l[f].seen[B] || l[f].noted[B] >= since
       :: else fi
}

inline publish(k, f, v, t_a, t_b) {
    atomic { epoch++; bn = epoch }
    valid = true;
#ifndef PUBLISH_BLIND
    if :: l[f].has[A] -> valid = present[A] && word[A] == l[f].seen[A] :: else fi;
    if :: l[f].has[B] -> valid = valid && present[B] && word[B] == l[f].seen[B] :: else fi;
#endif
    atomic {
        if
        :: valid && at[k] == f + 1 ->
            e[k].val = v; e[k].born = bn; e[k].tag[A] = t_a; e[k].tag[B] = t_b;
            l[f].born = bn
        :: else -> l[f].born = 0
        fi;
        if :: at[k] == f + 1 -> at[k] = 0 :: else fi;
        l[f].val = v; l[f].done = true
    }
}

/* enter the flight of k, as f; lead = true, or g: the flight to join */
inline enter(k, f) {
    atomic {
        if
        :: at[k] == 0 -> at[k] = f + 1; lead = true
        :: else -> g = at[k] - 1; lead = false
        fi
    }
}

inline join(k) { /* answered with ev, eb? */
#ifdef JOIN_BLIND
    fresh = true;
#else
    ask(g, since);
#endif
    if
    :: !fresh -> atomic { if :: at[k] == g + 1 -> at[k] = 0 :: else fi }
    :: else ->
        l[g].done;
        ev = l[g].val; eb = l[g].born;
#if !defined(JOIN_BLIND) && !defined(ANSWER_BLIND)
        ask(g, since)
#endif
    fi
}

inline get_b(f) { /* value in ev, birth in eb */
    do
    :: true ->
        look(B);
        if :: valid -> break :: else fi;
        since = epoch;
        enter(B, f);
        if
        :: lead ->
            look(B);
            if
            :: valid -> atomic { at[B] = 0; l[f].val = ev; l[f].born = eb; l[f].done = true }
            :: else ->
#ifdef READ_BEFORE_NOTE
                atomic { !window -> v = a }
                note(f, A);
#else
                ta = next;
                note(f, A);
#ifdef CLEAR
                note(f, B);
                if
                :: ended || ta -> l[f].seen[A] = NONE
                :: else
                fi;
#endif
                atomic { !window -> v = a }
#endif
#ifdef CLEAR
                publish(B, f, v, true, true);
#else
                publish(B, f, v, true, false);
#endif
                ev = v; eb = l[f].born
            fi;
            break
        :: else ->
            join(B);
            if :: fresh -> break :: else fi
        fi
    od
}

inline inherit(f) { /* the tags of the value of b that was read */
    atomic { ta = e[B].tag[A]; tb = e[B].born == eb && eb != 0 }
#ifdef OTHER_TAGS
    tb = true;
#endif
#ifdef UNION_FORGETS
    ta = false;
#endif
    if
    :: !tb -> l[f].has[A] = true; l[f].seen[A] = NONE; l[f].noted[A] = l[f].noted[B]
    :: tb && ta ->
        l[f].noted[A] = l[f].noted[B];
        atomic {
            if
            :: present[A] && word[A] <= eb -> l[f].seen[A] = word[A]
            :: else -> l[f].seen[A] = NONE
            fi
        }
        l[f].has[A] = true
    :: else
    fi
}

proctype call(byte p; bool asks_b) {
    byte x, v, ev, eb, bn, g, least, since, from;
    bool valid, lead, fresh, ta, tb;
#ifdef CLEAR
    p == 0 || called;
#endif
    least = returned;
    if
    :: atomic { !window -> v = a }
        if :: v > least -> least = v :: else fi
    :: skip
    fi;
    if
    :: asks_b -> get_b(2 * p + 1)
    :: else ->
        do
        :: true ->
            look(C);
            if :: valid -> break :: else fi;
            since = epoch;
            enter(C, 2 * p);
            if
            :: lead ->
                look(C);
                if
                :: valid -> atomic { at[C] = 0; l[2*p].val = ev; l[2*p].born = eb; l[2*p].done = true }
                :: else ->
                    note(2 * p, B);
                    get_b(2 * p + 1);
                    from = ev;
                    inherit(2 * p);
                    publish(C, 2 * p, from, l[2*p].has[A], true);
                    ev = from
                fi;
                break
            :: else ->
                join(C);
                if :: fresh -> break :: else fi
            fi
        od
    fi;
    assert(ev >= least);
    called = true
}

init {
    atomic {
        run change();
#ifdef OTHER
        run other();
#endif
#ifdef CLEAR
        run clear();
#endif
#ifdef BOTH_B
        run call(0, true);
#else
        run call(0, false);
#endif
#if defined(ONLY_B) || defined(BOTH_B)
        run call(1, true);
#else
        run call(1, false);
#endif
#ifdef DROP
        run drop();
#endif
#ifdef EVICT
        run evict();
#endif
    }
}
