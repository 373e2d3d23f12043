# SPDX-License-Identifier: MIT
#
# cellar for Conan 2. The options link libraries of the system, not packages of Conan.
from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout

LIBS = {"lz4": ["lz4"], "sqlite": ["sqlite3"], "tls": ["ssl", "crypto"], "mimalloc": ["mimalloc"]}


class Cellar(ConanFile):
    name = "cellar"
    version = "@VERSION@"
    license = "MIT AND BSD-1-Clause"
    settings = "os", "arch", "compiler", "build_type"
    options = {name: [True, False] for name in ["shared", "all", *LIBS]}
    default_options = {name: False for name in options}
    exports_sources = "CMakeLists.txt", "dist/*", "include/*", "LICENSE"

    def layout(self):
        cmake_layout(self)

    def generate(self):
        tool = CMakeToolchain(self)
        for name in ["all", *LIBS]:
            tool.cache_variables["CELLAR_" + name.upper()] = bool(self.options.get_safe(name))
        tool.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.libs = ["cellar"]
        self.cpp_info.system_libs = ["pthread"] + [
            lib for name in LIBS if self.options.get_safe(name) for lib in LIBS[name]]
