# SPDX-License-Identifier: MIT
#
# paper: the table of bench/paper.md: misses by libCacheSim and by `cellar replay`.
#
# USE        awk -F, -v trace=cp_vscsi -f paper.awk REFERENCE.csv REPLAY.csv
FNR == 1 { file++; next }
file == 1 && $1 == trace { theirs[$4, $3] = $5; next }
file == 2 {
    if (!($4 in seen)) { seen[$4] = 1; capacity[++capacities] = $4 }
    if (!($2 in known)) { known[$2] = 1; policy[++policies] = $2 }
    n = ++count[$2, $4]
    for (i = n; i > 1 && value[$2, $4, i - 1] > $6 + 0; i--) value[$2, $4, i] = value[$2, $4, i - 1]
    value[$2, $4, i] = $6 + 0
}
function short(x) { x = sprintf("%.4f", x); sub(/^0/, "", x); return x }
END {
    split("exact-lru=lru exact-fifo=fifo s3-fifo=s3fifo w-tinylfu-lcs=wtinylfu", pair, " ")
    for (i in pair) { split(pair[i], two, "="); name[two[1]] = two[2] }
    printf "| entries |"
    for (c = 1; c <= capacities; c++) printf " %d |", capacity[c]
    printf "\n|---|"
    for (c = 1; c <= capacities; c++) printf "--:|"
    print ""
    for (p = 1; p <= policies; p++) {
        of = policy[p]
        printf "| %s |", of
        for (c = 1; c <= capacities; c++) {
            k = of SUBSEP capacity[c]
            n = count[k]
            if (n > 1) printf " %s (%s to %s) |", short((value[k, int((n + 1) / 2)] + value[k, int(n / 2) + 1]) / 2), short(value[k, 1]), short(value[k, n])
            else printf " %s / %s |", short(value[k, 1]), short(theirs[of in name ? name[of] : of, capacity[c]])
        }
        print ""
    }
}
