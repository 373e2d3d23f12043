/* SPDX-License-Identifier: MIT
 *
 * remote_numbers: what one process keeps of the number of a tag (or of a generation).
 *
 * PICTURE    heard: number unknown, forgot = round + 1 -> entries of memory end -> request
 *            request: round noted -> server reads the number -> reply: number, known if
 *            forgot <= round noted
 *            get: life of memory noted -> server reads {value, born} -> reply: number unknown:
 *            request first; born < number: a miss; else kept, if the life is still the noted one
 * THREADS    Ends of the tag by another process (ENDS), each behind a change of the value;
 *            Subscriber, which hears them late; gets; requests of the subscriber and of gets.
 * SHOWN      When all is quiet, memory has no value of before the last end that was heard. A get
 *            that begins behind a heard end returns none.
 * MUTANTS    in the model only: REPLY_COUNTS (each reply makes the number known), ENDED_FIRST
 *            (entries end before the number is unknown), UNKNOWN_PASSES (a get does not ask),
 *            LIFE_AT_STORE (an entry gets the life of the moment when it is kept).
 * LIMITS     One tag with a place in the table; a displaced tag inherits `forgot` of the last one. */
#ifndef ENDS
#define ENDS 2
#endif
#ifndef GETS
#define GETS 2
#endif

byte tag = 1, born = 1;       /* of the server: number of the tag; birth of its value */
byte reports;                 /* ends on their way to the subscriber */
byte heard;                   /* number of the last end that was heard */
byte number = 1, round, forgot, life, running;
bool known = true;
byte mem, mem_life;           /* birth of the value in memory, 0: none; its life */

/* Take a reply to a request: number x of round r. */
inline take(x, r) {
    if :: x > number -> number = x :: else fi;
#ifdef REPLY_COUNTS
    known = true
#else
    known = (forgot <= r)
#endif
}

proctype ends() {             /* the value in the server stays: it is of before */
    byte n;
    do
    :: n < ENDS -> n++; d_step { tag++; reports++ }
    :: n < ENDS -> n++; d_step { tag++; reports++ }; d_step { born = tag } /* a new value */
    :: else -> break
    od;
    running--
}

active proctype subscriber() {
    byte x, r;
end:
    do
    :: reports > 0 ->
#ifdef ENDED_FIRST
        d_step { life++; heard = tag - reports + 1; reports-- };
        d_step { known = false; round++; forgot = round };
#else
        d_step { known = false; round++; forgot = round };
        d_step { life++; heard = tag - reports + 1; reports-- };
#endif
        r = round;
        x = tag;
        d_step { take(x, r); x = 0; r = 0 }
    od
}

proctype get() {
    byte l, b, x, r, from, n;
    bool fine;
    d_step {
        from = heard;
        if
        :: mem != 0 && mem_life == life -> assert(mem >= from); fine = true
        :: else
        fi;
        l = life
    };
    if :: fine -> goto out :: else fi;
again:
    b = born;                 /* executed; the reply is judged when it comes */
    d_step {
        if
#ifdef UNKNOWN_PASSES
        :: b >= number -> fine = true
#else
        :: known && b >= number -> fine = true
#endif
        :: else
        fi
    };
    if
    :: fine ->
        assert(b >= from);
        d_step {
            if
#ifdef LIFE_AT_STORE
            :: true -> mem = b; mem_life = life
#else
            :: l == life -> mem = b; mem_life = l
#endif
            :: else
            fi
        }
    :: !fine && !known && n == 0 ->
        n++;
        r = round;
        x = tag;
        d_step { take(x, r) };
        goto again
    :: else
    fi;
out:
    skip;
    d_step { l = 0; b = 0; x = 0; r = 0; from = 0; n = 0; fine = false; running-- }
}

init {
    byte i;
    atomic {
        running = GETS + 1;
        run ends();
        do :: i < GETS -> run get(); i++ :: else -> break od
    };
    running == 0;
    timeout;
    assert(mem == 0 || mem_life != life || mem >= heard)
}
