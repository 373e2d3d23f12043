#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    A stranger builds the programs of README.md from the archive, with CMake, Meson or Conan.
#         The archive makes itself and all files of the release again, byte for byte.
# Method: make archive, then each way in a folder of its own, without a network where the kernel
#         allows a name space. The unpacked archive makes its archive without git, in another time
#         zone and with another umask.
. tests/support/t.sh
unshare -n true 2>/dev/null && alone="unshare -n" || alone=
libraries=$(for l in liblz4 sqlite3 openssl; do pkg-config --exists $l 2>/dev/null || echo $l; done
    printf '#include <mimalloc.h>\nint main(void) { return 0; }\n' | $CC -x c - -lmimalloc -o "$t_tmp/linked" 2>/dev/null || echo mimalloc)

archive_is_made() {
    $MAKE -s archive >"$t_tmp/said" 2>&1 || { cat "$t_tmp/said"; return 1; }
    tail -n 2 "$t_tmp/said"
}
checksums_hold() { (cd dist && sha256sum -c SHA256SUMS) && grep -q '\.tar\.gz$' dist/SHA256SUMS; }
bill_names_archive_and_parts() {
    python3 - "dist/$name.spdx.json" "$sum" <<'END'
import json, sys
bill = json.load(open(sys.argv[1]))
parts = {p["name"]: p for p in bill["packages"]}
assert bill["spdxVersion"] == "SPDX-2.3", bill
assert parts["cellar"]["checksums"][0]["checksumValue"] == sys.argv[2], parts["cellar"]
assert parts["cellar"]["licenseDeclared"] == "MIT" and parts["uthash"]["licenseDeclared"] == "BSD-1-Clause"
assert {"lz4", "sqlite", "openssl", "mimalloc"} < set(parts)
END
}
unpack() { mkdir -p "$1" && tar -xzf "dist/$name.tar.gz" -C "$1"; }
same_bytes_without_git() {
    (umask 077 && unpack "$t_tmp/again") && cp "dist/$name.tar.gz" "$t_tmp/first.tar.gz" &&
        (cd "$t_tmp/again/$name" && umask 027 && touch README.md && GIT_DIR=/nowhere TZ=Asia/Tokyo \
            $MAKE -s archive) >"$t_tmp/said" 2>&1 || { tail "$t_tmp/said"; return 1; }
    cmp "$t_tmp/first.tar.gz" "$t_tmp/again/$name/dist/$name.tar.gz" &&
        cmp dist/SHA256SUMS "$t_tmp/again/$name/dist/SHA256SUMS"
}
release_is_made() { $MAKE -s release >"$t_tmp/said" 2>&1 || { tail "$t_tmp/said"; return 1; }; }
same_release_without_git() { # in the folder of the case above: archive, bill, sdist, wheel and static programs
    (cd "$t_tmp/again/$name" && umask 027 && touch src/python/*.py && GIT_DIR=/nowhere TZ=Asia/Tokyo \
        $MAKE -s release) >"$t_tmp/said" 2>&1 || { tail "$t_tmp/said"; return 1; }
    cat dist/release/SHA256SUMS && [ "$(wc -l <dist/release/SHA256SUMS)" -eq 6 ] &&
        diff dist/release/SHA256SUMS "$t_tmp/again/$name/dist/release/SHA256SUMS"
}
small_programs() {
    for f in dist/release/*-linux-x86_64 dist/release/*-linux-aarch64; do
        ls -l "$f" && [ "$(wc -c <"$f")" -le 2100000 ] || return 1
    done
}
programs() { # FOLDER: app.c and app.cc of README.md, and what CMake builds of them
    mkdir -p "$1" && awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' README.md >"$1/app.c" &&
        awk '/^```cpp$/ { on = 1; next } /^```/ { on = 0 } on' README.md >"$1/app.cc" &&
        [ -s "$1/app.c" ] && [ -s "$1/app.cc" ]
}
cmake_lists() { # FOLDER LINES: a project of both programs; LINES bring the target
    printf '%s\n' 'cmake_minimum_required(VERSION 3.15)' 'project(app C CXX)' "$2" \
        'set(CMAKE_CXX_STANDARD 17)' 'add_executable(app_c app.c)' 'add_executable(app_cc app.cc)' \
        'target_link_libraries(app_c cellar::cellar)' 'target_link_libraries(app_cc cellar::cellar)' \
        >"$1/CMakeLists.txt"
}
run_both() { # FOLDER
    [ "$("$1/app_c" | tr '\n' ' ')" = 'Grace Ada Ada ' ] && [ "$("$1/app_cc")" = Ada ]
}
cmake_builds() { # FOLDER CMAKE-WORD...
    folder=$1
    shift
    $alone cmake -S "$folder" -B "$folder/out" "$@" && $alone cmake --build "$folder/out" && run_both "$folder/out"
}
fetch_content() {
    programs "$t_tmp/fetch" && cmake_lists "$t_tmp/fetch" "include(FetchContent)
FetchContent_Declare(cellar URL file://$PWD/dist/$name.tar.gz URL_HASH SHA256=$sum)
FetchContent_MakeAvailable(cellar)" && cmake_builds "$t_tmp/fetch"
}
fetch_content_of_another_hash_fails() {
    sed "s/SHA256=..../SHA256=0000/" "$t_tmp/fetch/CMakeLists.txt" >"$t_tmp/fetch/new" &&
        mv "$t_tmp/fetch/new" "$t_tmp/fetch/CMakeLists.txt" && rm -r "$t_tmp/fetch/out" || return 1
    ! cmake -S "$t_tmp/fetch" -B "$t_tmp/fetch/out"
}
subdirectory() { # with the guests and each library of the system
    programs "$t_tmp/sub" && unpack "$t_tmp/sub" &&
        cmake_lists "$t_tmp/sub" "add_subdirectory($name)" &&
        cmake_builds "$t_tmp/sub" -DCELLAR_ALL=ON -DCELLAR_LZ4=ON -DCELLAR_SQLITE=ON -DCELLAR_TLS=ON -DCELLAR_MIMALLOC=ON
}
meson_wrap() {
    programs "$t_tmp/wrap" && mkdir -p "$t_tmp/wrap/subprojects/packagefiles" &&
        cp "dist/$name.tar.gz" "$t_tmp/wrap/subprojects/packagefiles" &&
        printf '%s\n' '[wrap-file]' "directory = $name" "source_filename = $name.tar.gz" \
            "source_hash = $sum" '[provide]' 'cellar = cellar_dep' >"$t_tmp/wrap/subprojects/cellar.wrap" &&
        printf '%s\n' "project('app', 'c', 'cpp', default_options: ['cpp_std=c++17'])" \
            "executable('app_c', 'app.c', dependencies: dependency('cellar'))" \
            "executable('app_cc', 'app.cc', dependencies: dependency('cellar'))" >"$t_tmp/wrap/meson.build" &&
        $alone meson setup "$t_tmp/wrap/out" "$t_tmp/wrap" "$@" && $alone meson compile -C "$t_tmp/wrap/out" &&
        run_both "$t_tmp/wrap/out"
}
meson_wrap_with_libraries() {
    rm -rf "$t_tmp/wrap" && meson_wrap -Dcellar:all=true -Dcellar:lz4=true -Dcellar:sqlite=true -Dcellar:tls=true -Dcellar:mimalloc=true
}
conan_package() {
    CONAN_HOME=$t_tmp/conan
    export CONAN_HOME
    (unset CC CXX && conan profile detect) && unpack "$t_tmp/recipe" && programs "$t_tmp/by-conan" &&
        cmake_lists "$t_tmp/by-conan" 'find_package(cellar REQUIRED)' && printf '%s\n' \
        'from conan import ConanFile' 'from conan.tools.cmake import CMake' 'class App(ConanFile):' \
        '    settings = "os", "arch", "compiler", "build_type"' "    requires = 'cellar/$version'" \
        '    generators = "CMakeDeps", "CMakeToolchain"' '    def build(self):' '        cmake = CMake(self)' \
        '        cmake.configure()' '        cmake.build()' >"$t_tmp/by-conan/conanfile.py" &&
        $alone conan create -nr -s build_type=Debug "$t_tmp/recipe/$name" -o 'cellar/*:all=True' &&
        $alone conan build -nr -s build_type=Debug "$t_tmp/by-conan" -o 'cellar/*:all=True' &&
        run_both "$t_tmp/by-conan"
}

t_case archive_is_made archive_is_made
name=$(sed -n 's/.* \(cellar-.*\)\.tar\.gz$/\1/p' dist/SHA256SUMS)
version=${name#cellar-} version=${version%-dev}
sum=$(sha256sum "dist/$name.tar.gz" | cut -d ' ' -f 1)
t_case checksums_hold checksums_hold
if t_have python3; then t_case bill_names_archive_and_parts bill_names_archive_and_parts
else t_skip bill_names_archive_and_parts "no python3"; fi
t_case archive_makes_the_same_bytes_without_git same_bytes_without_git
if ! t_have python3 || ! [ -f "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
    t_skip release_has_the_same_bytes_without_git "no python3-dev"
elif ! echo '#include <errno.h>' | aarch64-linux-gnu-gcc -E - >/dev/null 2>&1; then
    t_skip release_has_the_same_bytes_without_git "no aarch64-linux-gnu-gcc, or no headers for it"
else
    t_case release_is_made release_is_made
    t_case release_has_the_same_bytes_without_git same_release_without_git
    t_case static_programs_have_at_most_2_1_MB small_programs
fi
if t_have cmake; then
    t_case cmake_fetch_content_builds_the_programs fetch_content
    t_case cmake_fetch_content_of_another_hash_fails fetch_content_of_another_hash_fails
    if [ -z "$libraries" ]; then t_case cmake_subdirectory_builds_the_programs subdirectory
    else t_skip cmake_subdirectory_builds_the_programs "not installed: $libraries"; fi
else
    t_skip cmake_builds_the_programs "no cmake"
fi
if t_have meson; then
    t_case meson_wrap_builds_the_programs meson_wrap
    if [ -z "$libraries" ]; then t_case meson_links_the_libraries meson_wrap_with_libraries
    else t_skip meson_links_the_libraries "not installed: $libraries"; fi
else
    t_skip meson_wrap_builds_the_programs "no meson"
fi
if t_have conan && t_have cmake; then t_case conan_package_builds_the_programs conan_package
else t_skip conan_package_builds_the_programs "no conan or no cmake"; fi
t_end packaging_archive
