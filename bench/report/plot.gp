# SPDX-License-Identifier: MIT
#
# plot: SVG and PNG of what plot.awk and the churn suite left in the folder `out`.
#
# throughput  2 threads, 1 M x 16/100, zipf .99: median with p25..p75, axis from zero
# memory      bytes an entry beyond key and value, axis from zero
# churn       RSS growth over time beside the budget's line, axis from zero
# gnuplot-nox 5.4 writes the same bytes for the same input, so a plot changes when numbers do.
set key outside right top
set grid ytics lc rgb '#dddddd'
set style data histograms
set style fill solid 0.8 border -1
has(name) = int(system("test -s '" . name . "' && echo 1 || echo 0"))

do for [kind in "svg png"] {
    if (kind eq "svg") { set terminal svg size 900,480 font 'sans,12' } else { set terminal pngcairo size 900,480 font 'sans,12' }
    if (has(out.'/throughput.dat')) {
        set output out.'/throughput.'.kind
        set title '2 threads, 1 M x 16 B / 100 B, zipf 0.99, interleaved windows (p25..p75)'
        set ylabel 'Mops/s'
        set yrange [0:*]
        set style histogram errorbars gap 2 lw 1
        plot for [s=0:6] out.'/throughput.dat' using (column(2+3*s)):(column(3+3*s)):(column(4+3*s)):xtic(1) title columnheader(2+3*s)
    }
    if (has(out.'/memory.dat')) {
        set output out.'/memory.'.kind
        set title 'Bytes an entry beyond key and value, 3 M x 16 B / 100 B'
        set ylabel 'B / entry'
        set yrange [0:*]
        set style histogram clustered gap 1
        plot out.'/memory.dat' using 2:xtic(1) notitle
    }
    if (has(out.'/churn_cellar.tsv')) {
        set output out.'/churn.'.kind
        set title 'Size churn: RSS growth (five phases of other sizes)'
        set ylabel 'MiB'
        set xlabel 's'
        set yrange [0:*]
        plot for [s in "cellar uthash64"] out.'/churn_'.s.'.tsv' using ($1/1000):($2/1048576) with lines lw 2 title s, \
             out.'/churn_cellar.tsv' using ($1/1000):($4/1048576) with lines dt 2 lc rgb 'black' title 'budget'
        unset xlabel
    }
}
