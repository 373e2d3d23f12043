// SPDX-License-Identifier: MIT
//
// Driver for otter v2 (adaptive W-TinyLFU).
package main

import (
	"context"

	"cellar/driver"
	"github.com/maypok86/otter/v2"
)

type peer struct {
	c     *otter.Cache[string, []byte]
	bytes bool
}

func open(cfg driver.Cfg) driver.Peer {
	o := &otter.Options[string, []byte]{}
	if cfg.Bytes != 0 {
		o.MaximumWeight = cfg.Bytes
		o.Weigher = func(key string, value []byte) uint32 { return uint32(len(key) + len(value)) }
	} else {
		o.MaximumSize = cfg.Room()
		o.InitialCapacity = cfg.Presize()
	}
	if cfg.TTL != 0 {
		o.ExpiryCalculator = otter.ExpiryWriting[string, []byte](cfg.TTL)
	}
	return &peer{otter.Must(o), cfg.Bytes != 0}
}

func (p *peer) Get(key string) ([]byte, bool)     { return p.c.GetIfPresent(key) }
func (p *peer) Set(key string, value []byte) bool { p.c.Set(key, value); return true }
func (p *peer) Del(key string)                    { p.c.Invalidate(key) }
func (p *peer) Count() uint64                     { p.c.CleanUp(); return uint64(p.c.EstimatedSize()) }
func (p *peer) Settle()                           { p.c.CleanUp() }
func (p *peer) Close()                            { p.c.StopAllGoroutines() }
func (p *peer) Accounted() uint64 {
	if !p.bytes {
		return 0
	}
	return p.c.WeightedSize()
}

func (p *peer) Load(key string, f func() []byte) []byte {
	v, _ := p.c.Get(context.Background(), key, otter.LoaderFunc[string, []byte](
		func(context.Context, string) ([]byte, error) { return f(), nil }))
	return v
}

func main() {
	driver.Run(driver.Info{Name: "otter", Module: "github.com/maypok86/otter/v2",
		Caps: "entries bytes ttl load", Open: open})
}
