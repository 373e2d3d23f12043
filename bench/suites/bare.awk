# SPDX-License-Identifier: MIT
#
# bare: a copy of dist/cellar.c that neither counts nor samples, for the figure kit_stats_get. It
# empties two functions; without both of them in the file it ends with 1.
#
# USE        awk -f bare.awk dist/cellar.c >bare.c
{ print }
/^BASE_INLINE bool stats_sample\(/ { name = "stats_sample"; body = "    (void)self; return false;" }
/^BASE_ALWAYS_INLINE void stats_add_mine\(/ {
    name = "stats_add_mine"
    body = "    (void)st, (void)tag, (void)self, (void)id, (void)n; return;"
}
/;$/ && name != "" { name = "" } # a prototype
/^{/ && name != "" { print body; done[name] = 1; name = "" }
END {
    if (!done["stats_sample"] || !done["stats_add_mine"]) {
        print "bare.awk: stats_sample or stats_add_mine is not there" >"/dev/stderr"
        exit 1
    }
}
