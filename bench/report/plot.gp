# SPDX-License-Identifier: MIT
#
# plot: SVG and PNG of what plot.awk and the churn suite left in the folder `out`.
#
# throughput  2 threads, 1 M x 16/100, zipf .99: median with p25..p75, axis from zero
# memory      bytes an entry beyond key and value, axis from zero
# peers_*     every subject at 1 and 2 threads, a workload each, axis from zero
# latency     share of gets that took longer, both axes logarithmic
# storm       RSS growth / budget over time beside the budget's line, axis from zero
# missratio_* misses / requests at 1, 5, 10 % of the distinct keys, axis as the figures want it
# limiter     ns a check, axis from zero
# churn       RSS growth / budget over time beside the budget's line, axis from zero
# scaling     2 threads / 1, axis from zero, a line at 1
# l2put       ns a put to disk until it is accepted, axis logarithmic
# open        p99 of a get from when it was due, axis logarithmic
# openload    p99 of a get from when it was due against the rate, both axes logarithmic
# gnuplot-nox 5.4 writes the same bytes for the same input, so a plot changes when numbers do.
set key outside right top
set grid ytics lc rgb '#dddddd'
set style data histograms
set style fill solid 0.8 border -1
# Okabe and Ito's colours, distinct for red-green colour blindness; ours is black and thick.
set linetype 1 lc rgb '#0072b2'
set linetype 2 lc rgb '#e69f00'
set linetype 3 lc rgb '#009e73'
set linetype 4 lc rgb '#cc79a7'
set linetype 5 lc rgb '#56b4e9'
shades = '#d55e00 #009e73 #0072b2 #e69f00 #cc79a7 #56b4e9 #8c6d1f #808080'
# Of the caches one line each: not our own yardsticks' variants, not what keeps no bound but RAW.
curves = "raw|cellar|uthash64|caffeine|moka|quick_cache|foyer|otter|ristretto|theine|cachetools|lru_cache"
what(m) = m eq 'readthrough' ? 'get, on a miss set: room for 100 k of 1 M, 16 B / 100 B, zipf 0.99' : \
    m eq 'get4k' ? 'get: 16 B / 4 KiB' : m[1:3] eq 'hot' ? m.': one key of 1 M x 16 B / 100 B' : \
    m.': 1 M x 16 B / 100 B, zipf 0.99'
has(name) = int(system("test -s '" . name . "' && echo 1 || echo 0"))

do for [kind in "svg png"] {
    if (kind eq "svg") { set terminal svg size 1100,560 font 'sans,12' background 'white' } else { set terminal pngcairo size 1100,560 font 'sans,12' }
    if (has(out.'/throughput.dat')) {
        set output out.'/throughput.'.kind
        set title '2 threads, 1 M x 16 B / 100 B, zipf 0.99, interleaved windows (p25..p75)'
        set ylabel 'Mops/s'
        set yrange [0:*]
        set style histogram errorbars gap 2 lw 1
        columns = int(system("head -n 1 '".out."/throughput.dat' | wc -w"))
        plot for [s=0:(columns-1)/3-1] out.'/throughput.dat' using (column(2+3*s)):(column(3+3*s)):(column(4+3*s)):xtic(1) title columnheader(2+3*s)
    }
    set xtics rotate by -40
    set key inside right top
    if (has(out.'/memory.dat')) {
        set output out.'/memory.'.kind
        set title 'Bytes an entry beyond key and value, 1 M x 16 B / 100 B'
        set ylabel 'B / entry'
        set yrange [0:*]
        set style histogram clustered gap 1
        plot out.'/memory.dat' using 2:xtic(1) notitle
    }
    set style histogram clustered gap 1
    do for [m in "get mix95 mix50 write readthrough hot hot95 get4k"] {
        if (has(out.'/peers_'.m.'.dat')) {
            set output out.'/peers_'.m.'.'.kind
            set title what(m).'; every peer, windows in turn (p25..p75)' noenhanced
            set ylabel 'Mops/s'
            set yrange [0:*]
            set style histogram errorbars gap 1 lw 1
            plot out.'/peers_'.m.'.dat' using 2:3:4:xtic(1) title '1 thread', '' using 5:6:7 title '2 threads'
        }
    }
    set style histogram clustered gap 1
    if (has(out.'/scaling.dat')) {
        set output out.'/scaling.'.kind
        set title '2 threads / 1, 1 M x 16 B / 100 B, zipf 0.99'
        set ylabel 'x'
        set yrange [0:*]
        plot out.'/scaling.dat' using 2:xtic(1) title 'get', '' using 3 title 'mix95', 1 with lines dt 2 lc rgb 'black' title 'no gain'
    }
    set format y '10^{%T}'
    set logscale y
    set yrange [*:*]
    if (has(out.'/l2put.dat')) {
        set key outside right top
        set output out.'/l2put.'.kind
        set title 'A put to disk until it is accepted: 256 B, 4 KiB, 64 KiB (axis logarithmic)'
        set ylabel 'ns'
        plot out.'/l2put.dat' using 2:xtic(1) title 'p50', '' using 3 title 'p99', '' using 4 title 'p99.9'
    }
    if (has(out.'/open.dat')) {
        set key inside left top
        set output out.'/open.'.kind
        set title 'p99 of a get from when it was due, requests by the clock, 95:5, 1 thread (axis logarithmic)'
        set ylabel 'ns'
        plot out.'/open.dat' using 2:xtic(1) title '50 % of its capacity', '' using 3 title '80 %'
    }
    unset logscale
    set format y '%g'
    set key inside left top
    if (has(out.'/limiter.dat')) {
        set output out.'/limiter.'.kind
        set title 'One check of a limiter, 100 k keys of 16 B'
        set ylabel 'ns'
        set yrange [0:*]
        plot out.'/limiter.dat' using 2:xtic(1) title '1 thread', '' using 3 title '2 threads'
    }
    set xtics norotate
    set key outside right top
    list = system("ls ".out."/latency_peers_*_1.tsv 2>/dev/null | grep -E '_100_(".curves.")_1.tsv'")
    if (strlen(list) > 0) {
        set output out.'/latency.'.kind
        set title 'A get at 95:5, 1 thread (both axes logarithmic)'
        set key maxrows 26 samplen 3 font ',10'
        set xtics enhanced
        set format xy '10^{%T}'
        set xlabel 'ns'
        set ylabel 'share of gets that took longer'
        set logscale xy
        set xrange [10:*]
        set yrange [1e-6:1]
        plot for [k=1:words(list)] word(list, k) using 1:2 with lines lw (strstrt(word(list, k), '_cellar_') ? 4 : 1) lc rgb (strstrt(word(list, k), '_cellar_') ? 'black' : word(shades, 1 + k % 8)) dt 1 + (k - 1) / 8 title system("basename ".word(list, k)." .tsv | sed 's/.*_16_100_//; s/_1$//'") noenhanced
        unset logscale
        set format xy '%g'
        set xrange [*:*]
    }
    if (has(out.'/openload.dat')) {
        names = system("grep '^\"' ".out."/openload.dat | tr -d '\"'")
        set output out.'/openload.'.kind
        set title 'p99 of a get from when it was due, at 20, 50, 80, 90 % of each one''s capacity, 95:5, 1 thread (both axes logarithmic)'
        set xlabel 'thousand requests a second'
        set ylabel 'ns'
        set logscale xy
        set yrange [*:*]
        set format xy '%.0s%c'
        plot for [k=1:words(names)] out.'/openload.dat' index k-1 using 1:2 with linespoints lw (word(names, k) eq 'cellar' ? 4 : 1) lc rgb (word(names, k) eq 'cellar' ? 'black' : word(shades, 1 + k % 8)) dt 0 + (word(names, k) eq 'cellar' ? 1 : 1 + (k - 1) / 8) title word(names, k) noenhanced
        unset logscale
        set format xy '%g'
    }
    list = system("ls ".out."/storm_*.tsv 2>/dev/null | grep -E 'storm_(".curves.").tsv'")
    if (strlen(list) > 0) {
        set output out.'/storm.'.kind
        set title 'Budget storm: sizes 8 B..1 MiB, then small, then 1 MiB: RSS growth / budget of 64 MiB'
        set xlabel 's'
        set ylabel 'x budget'
        set yrange [0:*]
        plot for [k=1:words(list)] word(list, k) using ($1/1000):($2/$3) with lines lw (strstrt(word(list, k), 'storm_cellar') ? 4 : 1) lc rgb (strstrt(word(list, k), 'storm_cellar') ? 'black' : word(shades, 1 + k % 8)) dt 1 + (k - 1) / 8 title system("basename ".word(list, k)." .tsv | sed 's/storm_//'") noenhanced, \
             1 with lines dt 2 lc rgb 'black' title 'budget'
    }
    list = system("ls ".out."/churn_*.tsv 2>/dev/null | grep -E 'churn_(".curves.").tsv'")
    if (strlen(list) > 0) {
        set output out.'/churn.'.kind
        set title 'Size churn, five phases of other sizes: RSS growth / budget'
        set xlabel 's'
        set ylabel 'x budget'
        set yrange [0:*]
        plot for [k=1:words(list)] word(list, k) using ($1/1000):($2/$4) with lines lw (strstrt(word(list, k), 'churn_cellar') ? 4 : 1) lc rgb (strstrt(word(list, k), 'churn_cellar') ? 'black' : word(shades, 1 + k % 8)) dt 1 + (k - 1) / 8 title system("basename ".word(list, k)." .tsv | sed 's/churn_//'") noenhanced, \
             1 with lines dt 2 lc rgb 'black' title 'budget'
    }
    list = system("cat ".out."/missratio.list 2>/dev/null")
    do for [t in list] {
        file = out.'/missratio_'.t.'.dat'
        set output out.'/missratio_'.t.'.'.kind
        set title 'Misses of requests, trace '.t.', each peer its own engine' noenhanced
        set xlabel 'capacity, % of the distinct keys'
        set ylabel 'miss ratio (axis not from zero)'
        set yrange [*:*]
        set xtics (1, 5, 10)
        columns = int(system("head -n 1 '".file."' | wc -w"))
        plot for [c=2:columns] file using 1:c with linespoints lw (c == columns ? 4 : 1) lc rgb (c == columns ? 'black' : word(shades, 1 + c % 8)) title columnheader(c)
        set xtics autofreq
    }
    unset xlabel
    set style data histograms
}
