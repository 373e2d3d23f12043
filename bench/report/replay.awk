# SPDX-License-Identifier: MIT
#
# replay: miss ratios of traces against reference results: the figures of the replay suite.
#
# USE        awk -f bench/report/lines.awk -f bench/report/replay.awk [-v detail=1] [-v lines=1] [-v mode=object] REFERENCE.csv RESULTS.jsonl
#            REFERENCE.csv: trace,size_fraction,capacity,policy,miss_ratio (fifo lru belady and
#            peers); RESULTS: lines of `cellar replay`. Policies of the reference itself can be
#            scored by -v score=arc,lirs.
# FIGURES    cell = trace and capacity; informative: fifo - belady >= .005; reduction (f - x) / f, or
#            -(x - f) / x when worse; mean over informative cells; -L without lirs_* and spec_*;
#            worst: points above exact lru; won: share of informative cells not more than .001 above
#            the peer, lowest of s3fifo, arc, lirs, and w-tinylfu where RESULTS have it
#            (others' own fails where 1 % is no entry); diff: mean
#            and worst absolute difference from the reference policy of the same name over all
#            cells, in points.
#            Lines of one mode count; those of "budget" become the workload public_bytes.
BEGIN { FS = ","; if (mode == "") mode = "object"; to = mode == "budget" ? "public_bytes" : "public" }
function take(policy, trace, cap, value) {
    if (!((trace, cap) in cell)) return
    x[policy, trace, cap] = value
    if (!(policy in known)) { known[policy] = 1; order[++policies] = policy }
}
FNR == NR {
    if (FNR == 1) next
    ref[$4, $1, $3] = $5
    if (!(($1, $3) in cell)) {
        cell[$1, $3] = 1
        cells++
        ct[cells] = $1
        cc[cells] = $3
        cf[cells] = $2
    }
    if (score != "" && index("," score ",", "," $4 ",")) take($4, $1, $3, $5)
    next
}
{
    if (text("mode") != mode) next
    take(text("subject"), text("workload"), number("capacity"), number("value"))
    if (number("ns_per_request") != "") {
        ns[text("subject")] += number("ns_per_request") * number("requests")
        rq[text("subject")] += number("requests")
    }
}
function say(name, metric, value) {
    printf "{\"bench\":\"replay\",\"subject\":\"%s\",\"workload\":\"%s\"," \
        "\"metric\":\"%s\",\"value\":%.4f}\n", name, to, metric, value
}
function reduction(f, v) { return v == f ? 0 : v < f ? (f - v) / f : -(v - f) / v }
END {
    split("s3fifo,arc,lirs", peer, ",")
    for (p = 1; p <= policies; p++) {
        name = order[p]
        n = sum = nl = suml = worst = better = d = dsum = dmax = dsig = 0
        worse = beside = 0
        worst_at = ""
        split("", won)
        for (i = 1; i <= cells; i++) {
            if (!((name, ct[i], cc[i]) in x)) continue
            v = x[name, ct[i], cc[i]]
            f = ref["fifo", ct[i], cc[i]]
            l = ref["lru", ct[i], cc[i]]
            same = name
            sub(/^cellar-/, "", same)
            if (same == "w-tinylfu-lcs") same = "wtinylfu" # not w-tinylfu, which is the paper's
            if ((same, ct[i], cc[i]) in ref) {
                diff = (v - ref[same, ct[i], cc[i]]) * 100
                d++
                dsig += diff
                dsum += diff < 0 ? -diff : diff
                if ((diff < 0 ? -diff : diff) > (dmax < 0 ? -dmax : dmax)) {
                    dmax = diff
                    dat = ct[i] " " cc[i]
                }
            }
            if (f - ref["belady", ct[i], cc[i]] < .005) continue
            r = reduction(f, v)
            n++
            sum += r
            if (ct[i] !~ /^(lirs|spec)_/) { nl++; suml += r }
            if ((v - l) * 100 > worst) { worst = (v - l) * 100; worst_at = ct[i] " " cc[i] }
            if (v > l + .0005) worse++
            for (k = 1; k <= 3; k++) won[k] += v <= ref[peer[k], ct[i], cc[i]] + .001
            if (("w-tinylfu", ct[i], cc[i]) in x) { # a plain look-up would create it
                won[4] += v <= x["w-tinylfu", ct[i], cc[i]] + .001
                beside++
            }
            by[cf[i]] += r
            byn[cf[i]]++
            if (detail) {
                printf "%-18s %7d %-10s %.4f fifo %.4f lru %.4f s3 %.4f arc %.4f red %+.4f\n", ct[i],
                    cc[i], name, v, f, l, ref["s3fifo", ct[i], cc[i]], ref["arc", ct[i], cc[i]], r
            }
        }
        if (n == 0) continue
        low = 1
        for (k = 1; k <= 3; k++) if (won[k] / n < low) low = won[k] / n
        if (beside && won[4] / beside < low) low = won[4] / beside
        printf "%-15s cells %d mean %.4f -L %.4f worst %+.2f (%s) worse %.2f won %.2f/%.2f/%.2f",
            name, n, sum / n, nl ? suml / nl : 0, worst, worst_at, worse / n, won[1] / n,
            won[2] / n, won[3] / n
        if (beside) printf "/%.2f", won[4] / beside
        if (d) printf " diff %.3f signed %+.3f max %+.2f (%s)", dsum / d, dsig / d, dmax, dat
        if (rq[name]) printf " %.1f ns", ns[name] / rq[name]
        printf "\n"
        if (lines) {
            say(name, "mean_reduction", sum / n)
            say(name, "worst_points_above_lru", worst)
            say(name, "won_or_tied_lowest", low)
            if (d) say(name, "points_from_reference", dsum / d)
            if (rq[name] && ns[name])
                say(name, "million_requests_a_second", 1000 * rq[name] / ns[name])
        }
        split("", by)
        split("", byn)
    }
}
