// SPDX-License-Identifier: MIT
//
// Driver for golang.org/x/time/rate, a limiter a key in a sync.Map, as its users write it.
// One command a line on stdin, one JSON line as answer:
// hello | open KEYS | window check|check_hot THREADS MS | quit
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/time/rate"
)

const batch = 256

var limiters sync.Map

func allow(key string) bool {
	l, ok := limiters.Load(key)
	if !ok {
		l, _ = limiters.LoadOrStore(key, rate.NewLimiter(500e6, 500e6))
	}
	return l.(*rate.Limiter).Allow()
}

// Of the calling thread, as everybody counts: what the collector needs beside it is nobody's.
func cpuNs() int64 {
	const threadCPU = 3
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

type cpus [16]uint64

var usable = func() (set cpus) {
	syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	return
}()

func affinity(set cpus) {
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}

// The index-th processor we may use.
func only(index int) (one cpus) {
	var list []int
	for c := 0; c < 1024; c++ {
		if usable[c/64]>>(c%64)&1 == 1 {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return usable
	}
	c := list[index%len(list)]
	one[c/64] = 1 << (c % 64)
	return
}

func window(keys []string, count uint64, threads, ms int, seed uint64) string {
	var wait, ready sync.WaitGroup
	ops := make([]uint64, threads*16)
	bad := make([]uint64, threads*16)
	spent := make([]int64, threads*16) // CPU; and behind it wall, ns
	ready.Add(threads)
	wait.Add(threads)
	for i := 0; i < threads; i++ {
		go func(i int) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			affinity(only(i))
			defer affinity(usable)
			s, n, b := seed+uint64(i)*77777, uint64(0), uint64(0)
			ready.Done()
			ready.Wait()
			cpu, start := cpuNs(), time.Now()
			until := start.Add(time.Duration(ms) * time.Millisecond)
			for {
				for k := 0; k < batch; k++ {
					s = s*6364136223846793005 + 1442695040888963407
					if !allow(keys[(s>>32)*count>>32]) {
						b++
					}
				}
				n += batch
				if time.Now().After(until) {
					break
				}
			}
			ops[i*16], bad[i*16] = n, b
			spent[i*16], spent[i*16+1] = cpuNs()-cpu, int64(time.Since(start))
			wait.Done()
		}(i)
	}
	wait.Wait()
	var o, b uint64
	var cpu, wall int64
	for i := 0; i < threads; i++ {
		o += ops[i*16]
		b += bad[i*16]
		cpu += spent[i*16]
		wall = max(wall, spent[i*16+1])
	}
	return fmt.Sprintf(`{"ops":%d,"bad":%d,"wall_ns":%d,"cpu_ns":%d}`, o, b, wall, cpu)
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "golang.org/x/time" {
				return d.Version
			}
		}
	}
	return "unknown"
}

func main() {
	var keys []string
	seed := uint64(1)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var a, b int
		word := strings.Fields(in.Text())
		answer := `{"error":"not understood"}`
		switch {
		case len(word) > 0 && word[0] == "hello":
			answer = fmt.Sprintf(`{"peer":"xtimerate","version":"%s","runtime":"%s"}`, version(),
				runtime.Version())
		case len(word) == 2 && word[0] == "open":
			fmt.Sscan(word[1], &a)
			for k := 0; k < a; k++ {
				keys = append(keys, fmt.Sprintf("user:%011d", k))
				allow(keys[k])
			}
			answer = fmt.Sprintf(`{"entries":%d}`, len(keys))
		case len(word) == 4 && word[0] == "window" && len(keys) > 0:
			fmt.Sscan(word[2], &a)
			fmt.Sscan(word[3], &b)
			count := uint64(len(keys))
			if word[1] == "check_hot" {
				count = 1
			}
			seed += 1000003
			if a > 0 {
				answer = window(keys, count, a, b, seed)
			}
		case len(word) > 0 && word[0] == "quit":
			return
		}
		fmt.Println(answer)
	}
}
