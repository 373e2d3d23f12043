# SPDX-License-Identifier: MIT
#
# figures: lines with code in C files, and fields of a struct; for figures.sh.
#
# USE        awk -f src/tools/code.awk -f src/tools/figures.awk FILE...            lines with code
#            awk ... -v fields=cellar_config include/cellar.h           fields of that struct; .*: of all

FNR == 1 { in_comment = 0 }
{ code = strip_comments($0) }
fields == "" { n += code ~ /[^ ]/ }
fields != "" && code ~ ("^typedef (struct|union) " fields " [{]") { inside = 1; next }
inside && code ~ /^[}]/ { inside = 0 }
inside { n += gsub(/;/, "", code) }
END { print n + 0 }
